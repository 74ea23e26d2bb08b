import { appendFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rootfsKeys } from '../fixtures/homes.ts';
import { Machine } from './machine.ts';

let machine: Machine;
let home: string;
beforeEach(() => {
  machine = new Machine();
  home = machine.home();
});
afterEach(() => machine[Symbol.dispose]());

const prune = (...args: string[]) => machine.run('prune', '--settle', '0s', ...args);
const journal = () => join(home, 'cache/rootfs/.cachepolicy/journal');

describe('history', () => {
  it('says where nothing has been evicted yet, and what to do to see something', async () => {
    const { code, stdout, stderr } = await machine.run('history', '-f', machine.policy());
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'nothing has been evicted from rootfs yet, as far as is remembered\n' });
    expect(stderr).toContain('cachepolicy plan shows what would go now');
  });

  it('shows what prune evicted, newest first, with time, size, reason and trigger', async () => {
    const file = machine.policy({ limits: '{maxEntries: 5}' });
    await prune('-f', file);
    await prune('-f', machine.policy({ limits: '{maxEntries: 4}' }));
    const { code, stdout, stderr } = await machine.run('history', '-f', file);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [heading, ...lines] = stdout.trimEnd().split('\n');
    expect(heading).toMatch(/^TIME +EVENT +KEY +DESCRIPTION +SIZE +REASON +TRIGGER$/);
    expect(lines).toHaveLength(4);
    expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+s ago\) {3}evicted {3}732dd5656041 {3}docker.io\/library\/golang:1.26 +[\d.]+Ki {3}MaxEntries {3}Manual$/);
    expect(lines[3]).toContain('postgres:17');
  });

  it('shows as many as are asked for, and says that there are more', async () => {
    const file = machine.policy({ limits: '{maxEntries: 4}' });
    await prune('-f', file);
    const { stdout, stderr } = await machine.run('history', '-f', file, '-n', '1');
    expect(stdout.trimEnd().split('\n')).toHaveLength(2);
    expect(stderr).toBe('note: the newest 1 of 4 events; -n 4 shows all\n');
  });

  it('prints JSON with whole keys', async () => {
    const file = machine.policy({ limits: '{maxEntries: 7}' });
    await prune('-f', file);
    const { events } = JSON.parse((await machine.run('history', '-f', file, '-o', 'json')).stdout) as { events: { time: string }[] };
    expect(events).toMatchObject([{
      cache: 'rootfs', policy: 'a3s-box', event: 'Evicted', key: rootfsKeys['postgres:17'], description: 'docker.io/library/postgres:17',
      sizeBytes: expect.any(Number), reason: 'MaxEntries', trigger: 'Manual',
    }]);
    expect(Math.abs(Date.parse(events[0]?.time ?? '') - Date.now())).toBeLessThan(600_000);
  });

  it('shows several caches in one list with their names, or only those that are named', async () => {
    const rootfs = machine.policy({ limits: '{maxEntries: 7}' });
    const layers = machine.policy({ file: 'layers.yaml', name: 'layers', store: 'Layers', limits: '{maxEntries: 4}' });
    await prune('-f', rootfs, '-f', layers);
    expect((await machine.run('history', '-f', rootfs, '-f', layers)).stdout).toMatch(/^TIME +CACHE +EVENT[^]*\blayers\/layers\b[^]*\ba3s-box\/rootfs\b/);
    const named = (await machine.run('history', 'layers', '-f', rootfs, '-f', layers)).stdout;
    expect(named.trimEnd().split('\n')).toHaveLength(2);
    expect(named).toContain('sha256:');
  });

  it('names the caches there are where another is asked for', async () => {
    expect(await machine.run('history', 'rootfss', '-f', machine.policy())).toMatchObject({ code: 2, stdout: '', stderr: 'history: there is no cache "rootfss"; there are rootfs\n' });
  });

  it('says what it cannot read, and shows the rest', async () => {
    const rootfs = machine.policy({ limits: '{maxEntries: 7}' });
    const layers = machine.policy({ file: 'layers.yaml', name: 'layers', store: 'Layers', limits: '{maxEntries: 4}' });
    await prune('-f', rootfs, '-f', layers);
    rmSync(journal());
    mkdirSync(journal());
    const { code, stdout, stderr } = await machine.run('history', '-f', rootfs, '-f', layers);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^a3s-box\/rootfs: \S+journal is no regular file \(.*remove it.*\)\n$/);
    expect(stdout.trimEnd().split('\n')).toHaveLength(2);
  });

  it('shows nothing that a terminal would obey, and counts the lines that are none', async () => {
    const file = machine.policy({ limits: '{maxEntries: 7}' });
    await prune('-f', file);
    const line = JSON.parse(readFileSync(journal(), 'utf8').trim()) as Record<string, unknown>;
    appendFileSync(journal(), `\n${JSON.stringify({ ...line, description: '\u001b]0;owned\u0007\nfake', key: '\u202ekey' })}\nnot a record\n`);
    const { stdout, stderr } = await machine.run('history', '-f', file);
    expect(stdout).toMatch(/\\u202ekey {3,}\\u001b]0;owned\\u0007\\nfake /);
    expect(stdout).not.toMatch(/[^\P{C}\n]/u);
    expect(stderr).toBe('note: rootfs: 1 line of the journal cannot be read and is left out\n');
  });

  it.each(['-5', '1.5', 'many'])('refuses -n %s', async (number) => {
    expect(await machine.run('history', '-f', machine.policy(), '-n', number)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('whole number') });
  });

  it('changes nothing', async () => {
    const file = machine.policy();
    await prune('-f', file);
    const before = machine.listing();
    await machine.run('history', '-f', file);
    expect(machine.listing()).toEqual(before);
  });
});
