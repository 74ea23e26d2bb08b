import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Machine } from './machine.ts';

interface CacheJson {
  readonly stats: { readonly totalBytes: number };
  readonly otherBytes: Readonly<Record<'damaged' | 'leftovers' | 'unrecognised' | 'own' | 'unmeasured', number>>;
  readonly bytesInAll: number;
}

function du(path: string): number {
  return Number(execFileSync('du', ['-s', '-B1', path], { encoding: 'utf8' }).split('\t')[0]);
}

/** Two models, what a download tool keeps beside them, what is no file, and a folder that holds the home of a runtime. */
function machineWithModels(): { machine: Machine; path: string; file: string } {
  const machine = Machine.forTest();
  const path = join(machine.allowedRoot, 'data/models');
  for (const each of ['llama/shards', 'mistral', '.downloads/part', 'bad/home/boxes', 'bad/home/cache']) mkdirSync(join(path, each), { recursive: true });
  for (const [name, size] of [['llama/shards/0', 50_000], ['mistral/0', 20_000], ['.downloads/part/1', 70_000], ['bad/weights', 90_000], ['.token', 10]] as const) {
    writeFileSync(join(path, name), Buffer.alloc(size, 1));
  }
  linkSync(join(path, 'mistral/0'), join(path, '.downloads/2'));
  symlinkSync('/etc', join(path, 'link'));
  writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff])]), Buffer.alloc(30_000, 1));
  const at = Date.now() / 1000 - 3600;
  for (const name of ['llama/shards/0', 'llama/shards', 'llama', 'mistral/0', 'mistral']) utimesSync(join(path, name), at, at);
  const file = machine.directoryPolicy({ path, limits: '{maxEntries: 1}' });
  return { machine, path, file };
}

async function jsonOf(machine: Machine, ...args: string[]): Promise<CacheJson> {
  const { stdout } = await machine.run(...args, '-o', 'json');
  return (JSON.parse(stdout) as { caches: [CacheJson] }).caches[0];
}

describe('the bytes of a directory in all', () => {
  test.each([['stats'], ['plan'], ['prune', '--dry-run'], ['prune', '--settle', '0s']])('are those of du: %s %s', async (...command: string[]) => {
    const { machine, path, file } = machineWithModels();
    const { stats, otherBytes, bytesInAll } = await jsonOf(machine, ...command, '-f', file);
    expect(bytesInAll).toBe(du(path));
    expect(otherBytes.damaged).toBe(du(join(path, 'bad')));
    expect(otherBytes.unrecognised).toBeGreaterThan(100_000);
    expect(stats.totalBytes + otherBytes.damaged + otherBytes.unrecognised + otherBytes.leftovers + otherBytes.own).toBe(bytesInAll);
  });

  test('count what waits to be deleted', async () => {
    const { machine, path, file } = machineWithModels();
    const trash = join(path, '.cachepolicy/trash/gone-1');
    mkdirSync(trash, { recursive: true, mode: 0o700 });
    writeFileSync(join(trash, 'rest'), Buffer.alloc(200_000, 1));
    const { otherBytes, bytesInAll } = await jsonOf(machine, 'stats', '-f', file);
    expect(bytesInAll).toBe(du(path));
    expect(otherBytes.own).toBeGreaterThan(200_000);
  });

  test('stand in the text of plan, prune and stats', async () => {
    const { machine, file } = machineWithModels();
    // What a folder takes differs between filesystems.
    const line = / {2}in all {4}[\d.]+[KM]i: \d+Ki damaged, 1\d\dKi not recognised, [\d.]+([KM]i)? of our own and the directory itself\n/;
    expect((await machine.run('plan', '-f', file)).stdout).toMatch(line);
    expect((await machine.run('prune', '--settle', '0s', '-f', file)).stdout).toMatch(line);
    expect((await machine.run('stats', '-f', file)).stdout).toMatch(/^CACHE +ENTRIES +SIZE +IN ALL +USAGE .*\nmodels +1 +\d+Ki +[\d.]+[KM]i +100% /);
  });

  test('say what could not be measured', async () => {
    const { machine, path, file } = machineWithModels();
    // Deeper than anything that a cache makes.
    execFileSync('python3', ['-c', `import os, sys\nos.chdir(sys.argv[1])\nfor i in range(300):\n  os.mkdir('d'); os.chdir('d')`, join(path, '.downloads')]);
    onTestFinished(() => void execFileSync('rm', ['-rf', join(path, '.downloads')]));
    expect((await jsonOf(machine, 'stats', '-f', file)).otherBytes.unmeasured).toBe(1);
    expect((await machine.run('plan', '-f', file)).stdout).toContain('; 1 could not be measured\n');
  });
});

test('the bytes of a store in all are those of its entries and of what is none', async () => {
  const machine = Machine.forTest();
  const rootfs = join(machine.home({ damaged: true }), 'cache/rootfs');
  writeFileSync(join(rootfs, 'notes.txt'), Buffer.alloc(100_000, 1));
  const { stats, otherBytes, bytesInAll } = await jsonOf(machine, 'stats', '-f', machine.policy());
  expect(otherBytes).toMatchObject({ unmeasured: 0, unrecognised: du(join(rootfs, 'notes.txt')) + du(join(rootfs, 'unrelated-folder')) });
  expect(otherBytes.damaged).toBeGreaterThan(0);
  expect(otherBytes.leftovers).toBeGreaterThan(0);
  expect(bytesInAll).toBe(stats.totalBytes + otherBytes.damaged + otherBytes.leftovers + otherBytes.unrecognised + otherBytes.own);
});
