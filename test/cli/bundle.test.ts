import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tryLock } from '../../src/disk/lock.ts';
import { openRoot } from '../../src/disk/pinned-root.ts';
import { Machine } from './machine.ts';

const checkout = join(import.meta.dirname, '../..');
const machine = new Machine();
const rootfs = join(machine.home(), 'cache/rootfs');
const outside = join(machine.dir, 'app');

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(program: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, { cwd: machine.dir, env });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as Ended;
    return { code, stdout, stderr };
  }
}

beforeAll(async () => {
  if (!existsSync(join(checkout, 'dist/filesystem-cache.cjs'))) await promisify(execFile)(process.execPath, [join(checkout, 'build.ts')]);
  cpSync(join(checkout, 'dist'), outside, { recursive: true });
}, 60_000);

afterAll(() => machine[Symbol.dispose]());

describe('the bundle, outside the checkout', () => {
  const bundle = (...args: string[]) => run(process.execPath, [join(outside, 'cachepolicy.cjs'), ...args, '--allowed-root', machine.allowedRoot]);

  it('validates, prunes, and takes the lock', async () => {
    const refused = await bundle('prune', '-f', machine.policy({ limits: '{maxBytes: 1Q}' }));
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('maxBytes must be a quantity') as string });
    const pruned = await bundle('prune', '--settle', '0s', '-f', machine.policy());
    expect(pruned).toMatchObject({ code: 0, stdout: expect.stringContaining('evicted 4 entries') as string });
    expect(readdirSync(rootfs).filter((name) => name.endsWith('.meta.json'))).toHaveLength(4);
    using root = openRoot(rootfs, { allowedRoots: [machine.allowedRoot] });
    using lock = tryLock(root, '.cachepolicy/lock');
    expect(lock).toBeDefined();
    const busy = await bundle('prune', '-f', machine.policy({ limits: '{maxEntries: 1}' }), '-o', 'json');
    expect(busy).toMatchObject({ code: 1, stdout: expect.stringContaining('ERR_LOCK_BUSY') as string });
  });

  it('brings the backend of the trait for programs of one\'s own', async () => {
    const program = `
      const { FilesystemCache } = require(${JSON.stringify(join(outside, 'filesystem-cache.cjs'))});
      const home = ${JSON.stringify(join(rootfs, '../..'))};
      const cache = new FilesystemCache({ format: 'a3s-rootfs', root: home + '/cache/rootfs', home }, { allowedRoots: [${JSON.stringify(machine.allowedRoot)}] });
      cache.stats().then((stats) => console.log(JSON.stringify(stats)));`;
    const { code, stdout } = await run(process.execPath, ['-e', program]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ entryCount: expect.any(Number) as number, totalBytes: expect.any(Number) as number });
  });

  it('knows schedules and time zones', async () => {
    const spec = '  schedule: {cron: "60 3 * * *", timeZone: Europe/Berlin}\n';
    const refused = await bundle('plan', '-f', machine.policy({ spec }));
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('"60 3 * * *" is not a schedule') as string });
  });

  it('goes on at SIGHUP where it was started under nohup, and else puts back and ends', async () => {
    const home = machine.home();
    const codes = await Promise.all(['nohup', 'env'].map(async (under) => {
      const file = machine.policy({ file: `${under}.yaml`, name: under, home, store: under === 'env' ? 'Rootfs' : 'Layers', limits: '{maxEntries: 1}' });
      const child = spawn(under, [join(checkout, 'bin/cachepolicy'), 'prune', '--settle', '2s', '-f', file, '--allowed-root', machine.allowedRoot], { stdio: ['ignore', 'pipe', 'pipe'] });
      child.stdout.resume();
      child.stderr.on('data', (text: Buffer) => text.includes('waiting') && child.kill('SIGHUP'));
      return ((await once(child, 'close')) as [number | null])[0];
    }));
    expect(codes).toEqual([0, 130]);
  });

  it('can load a kubeconfig', async () => {
    const controller = await run(process.execPath, [join(outside, 'cachepolicy.cjs'), 'controller', '--kubeconfig', machine.write('kubeconfig', 'clusters: []')]);
    expect(controller).toMatchObject({ code: 2, stderr: expect.stringMatching(/^the kubeconfig /) as string });
  });

  it('of the agent starts, and asks for what a pod gives it', async () => {
    const agent = await run(process.execPath, ['--single-threaded', '--no-turbofan', '--no-maglev', join(outside, 'agent.cjs')]);
    expect(agent).toMatchObject({ code: 2, stderr: expect.stringContaining('--policy NAME and --config FILE are needed') as string });
  });
});

describe('bin/cachepolicy', () => {
  it('brings its own Node, also through a link and where PATH has none', async () => {
    const link = join(machine.dir, 'cachepolicy');
    symlinkSync(join(checkout, 'bin/cachepolicy'), link);
    expect(await run(link, ['--version'], { PATH: '/usr/bin:/bin' })).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string });
  });
});
