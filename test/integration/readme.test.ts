import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { unpackHome } from '../fixtures/homes.ts';
import { eventually, kubectl, root } from './cluster.ts';

const readme = readFileSync(join(root, 'README.md'), 'utf8');
/** What stands behind a `$` in the console blocks, without its comment. */
const commands = [...readme.matchAll(/^\$ (.*?)(?: +#.*)?$/gm)].map((match) => match[1] ?? '');
const sample = /```yaml\n(apiVersion[^]*?)```/.exec(readme)?.[1] ?? '';

describe('the README', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-readme-'));
  let home: string;

  beforeAll(() => {
    home = unpackHome(scratch);
    writeFileSync(join(scratch, 'policy.yaml'), sample.replace('/var/lib/a3s-box/home', home));
  });

  afterAll(async () => {
    await kubectl(['delete', 'cachepolicies', '--all']);
    rmSync(scratch, { recursive: true, force: true });
  });

  it('knows no command that this test does not run', () => {
    expect(commands.filter((command) => !/^(make (demo|test)|kubectl (apply|get) .*|bin\/cachepolicy (plan|explain|prune|history|agent) .*)$/.test(command))).toEqual([]);
    expect(commands).toHaveLength(11);
  });

  it.each(commands.filter((command) => command.startsWith('bin/cachepolicy') && !command.includes('agent')))('tells how to use one machine: %s', async (command) => {
    // 3: the disk of this machine may have less free than the sample wants.
    const { stdout, code = 0 } = await inScratch(command).catch((failure: { stdout: string; code: number }) => failure) as { stdout: string; code?: number };
    expect([0, 3]).toContain(code);
    expect(stdout).toContain('rootfs');
  });

  it('tells how to keep one machine within its limits', async () => {
    const [program = '', ...args] = wordsOf(commands.find((command) => command.includes('agent')) ?? '');
    const agent = spawn(program, args, { cwd: scratch, stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    agent.stderr.on('data', (data: Buffer) => void (log += data.toString()));
    await eventually(() => expect(log).toContain('policy in force'));
    agent.kill('SIGTERM');
    expect(await new Promise((resolve) => agent.on('close', resolve))).toBe(0);
  });

  it('tells how to install on a cluster, with the sample it shows', async () => {
    for (const command of commands.filter((each) => each.startsWith('kubectl apply'))) await kubectl(command.replace(/deploy/, `${root}deploy`).split(' ').slice(1));
    await kubectl(['apply', '--dry-run=server', '-f', '-'], sample.replace('name: a3s-box', 'name: another'));
  });

  it('shows the columns that kubectl shows', async () => {
    const shown = /\$ kubectl get cachepolicies\n(.*)\n/.exec(readme)?.[1]?.split(/ +/);
    expect((await kubectl(['get', 'cachepolicies'])).split('\n')[0]?.trim().split(/ +/)).toEqual(shown);
    for (const line of readme.split('\n').filter((each) => /^(NAME|a3s-box)\b/.test(each))) expect(line.length).toBeLessThanOrEqual(80);
  });

  it('names a demo that works, ends by itself when told to, and leaves no process', async () => {
    // What is installed is what these tests run with: npm would take it away under those that run beside this one.
    const { stdout } = await promisify(execFile)('make', ['--no-print-directory', '--old-file=node_modules/.package-lock.json', 'demo'], { cwd: root, env: { ...process.env, DEMO_ONCE: '1' }, maxBuffer: 2 ** 24 });
    // The end of what it shows: three nodes with four entries each.
    expect(stdout).toMatch(/^a3s-box +3\/3 +12 .* 12 +True .*$/m);
  }, 300_000);

  it('names the test command that decides what lands', () => {
    expect(commands).toContain('make test');
    expect(readFileSync(join(root, '.ci/run'), 'utf8')).toContain('REQUIRE=all make test');
  });

  function wordsOf(command: string): string[] {
    return [...command.replace('bin/', join(root, 'bin/')).split(' '), '--allowed-root', scratch];
  }

  function inScratch(command: string) {
    const [program = '', ...args] = wordsOf(command);
    return promisify(execFile)(program, args, { cwd: scratch });
  }
});
