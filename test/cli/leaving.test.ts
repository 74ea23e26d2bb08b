import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Machine } from './machine.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

function newMachine(): Machine {
  const machine = Machine.forTest();
  return machine;
}

function models(machine: Machine): string {
  const path = join(machine.allowedRoot, 'models');
  for (const [i, name] of ['a', 'b', 'c'].entries()) {
    mkdirSync(join(path, name), { recursive: true });
    writeFileSync(join(path, name, 'weights'), Buffer.alloc(65_536, 1));
    const at = Date.now() / 1000 - 9_000 + i;
    for (const each of ['weights', '.']) utimesSync(join(path, name, each), at, at);
  }
  return machine.directoryPolicy({ path, limits: '{maxEntries: 1}' });
}

/** A prune as a process of its own that is killed once it says what it waits for. */
async function killedAt(machine: Machine, what: string, ...args: string[]): Promise<void> {
  const child = spawn(process.execPath, [main, 'prune', '--allowed-root', machine.allowedRoot, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.on('data', (text: Buffer) => text.includes(what) && child.kill('SIGKILL'));
  expect(await once(child, 'close')).toEqual([null, 'SIGKILL']);
}

const leavingOf = ({ stdout }: { stdout: string }) => (JSON.parse(stdout) as { caches: { leaving: { entries: number; bytes: number } | null }[] }).caches[0]?.leaving;

describe('what a killed prune left on its way out', () => {
  const stops: readonly (readonly [what: string, at: string, args: readonly string[]])[] = [
    ['half way out', 'waiting', ['--settle', '60s']],
    ['evicted, and at rest', 'rest for', ['--settle', '0s', '--rest', '1h']],
  ];

  it.each(stops)('is counted by every view of a store of the runtime: %s', async (_, at, args) => {
    const machine = newMachine();
    machine.home();
    const file = machine.policy();
    await killedAt(machine, at, '-f', file, ...args);
    const before = machine.listing();
    const stats = await machine.run('stats', '-f', file);
    const [heading, row] = stats.stdout.split('\n').map((line) => line.split(/ {2,}/));
    expect([row?.[heading?.indexOf('ENTRIES') ?? -1], row?.[heading?.indexOf('LEAVING') ?? -1]]).toEqual(['4', '4']);
    const leaving = leavingOf(await machine.run('stats', '-f', file, '-o', 'json'));
    expect(leaving).toEqual({ entries: 4, bytes: expect.any(Number) as number });
    expect(leaving?.bytes).toBeGreaterThan(0);
    expect((await machine.run('plan', '-f', file)).stdout).toMatch(/^ {2}on the way out: 4 entries, \S+; evicted, and not deleted yet: /m);
    const explained = (await machine.run('explain', '-f', file)).stdout.split('\n').filter((line) => line.includes(' leaving '));
    expect(explained).toHaveLength(4);
    expect(explained.join()).toMatch(/docker\.io\/library\/\S+ +\S+ +- +leaving +evicted, and not deleted yet/);
    expect(machine.listing()).toEqual(before);
  });

  it.each(stops)('is counted by every view of a directory: %s', async (_, at, args) => {
    const machine = newMachine();
    const file = models(machine);
    await killedAt(machine, at, '-f', file, ...args);
    const stats = JSON.parse((await machine.run('stats', '-f', file, '-o', 'json')).stdout) as { caches: { stats: { entryCount: number }; leaving: { entries: number; bytes: number } }[] };
    expect(stats.caches[0]).toMatchObject({ stats: { entryCount: 1 }, leaving: { entries: 2 } });
    expect(stats.caches[0]?.leaving.bytes).toBeGreaterThanOrEqual(2 * 65_536);
    expect((await machine.run('plan', '-f', file)).stdout).toContain('on the way out: 2 entries, ');
    const again = await machine.run('prune', '-f', file, '--settle', '0s', '-o', 'json');
    expect(leavingOf(again)).toEqual({ entries: expect.any(Number) as number, bytes: expect.any(Number) as number });
  });

  it('is nothing where nothing was evicted', async () => {
    const machine = newMachine();
    const file = models(machine);
    expect(leavingOf(await machine.run('plan', '-f', file, '-o', 'json'))).toEqual({ entries: 0, bytes: 0 });
    expect((await machine.run('plan', '-f', file)).stdout).not.toContain('on the way out');
  });
});
