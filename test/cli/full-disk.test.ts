import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { asRoot, mount } from '../disk/scratch.ts';
import { Machine } from './machine.ts';

const main = join(import.meta.dirname, '../../src/main.ts');
const names = ['a', 'b', 'c', 'd'];

/** A machine whose caches lie on a filesystem without a single inode left, with four models of a folder each; no run was ever made there. */
function fullMachine(): { machine: Machine; models: string; file: string } {
  const machine = Machine.forTest();
  mount('-t', 'tmpfs', '-o', 'size=8m,nr_inodes=160', 'tmpfs', machine.allowedRoot);
  const models = join(machine.allowedRoot, 'models');
  for (const [i, name] of names.entries()) {
    mkdirSync(join(models, name), { recursive: true });
    writeFileSync(join(models, name, 'weights'), name.repeat(65_536));
    // More than our own folder with its reserve takes.
    for (let n = 0; n < 20; n += 1) writeFileSync(join(models, name, `shard-${n}`), '');
    const at = Date.now() / 1000 - 9_000 + i;
    for (const each of readdirSync(join(models, name)).concat('.')) utimesSync(join(models, name, each), at, at);
  }
  mkdirSync(join(machine.allowedRoot, 'many'));
  expect(() => {
    for (let n = 0; ; n += 1) writeFileSync(join(machine.allowedRoot, 'many', `${n}`), '');
  }).toThrow(/ENOSPC/);
  const file = machine.directoryPolicy({ path: models, limits: '{maxEntries: 2}' });
  return { machine, models, file };
}

function start(machine: Machine, ...args: string[]) {
  const child = spawn(process.execPath, [main, ...args, '--allowed-root', machine.allowedRoot], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stdout.resume();
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'close');
  });
  return { child, stderr: () => stderr };
}

const standing = (models: string) => readdirSync(models).filter((name) => !name.startsWith('.'));

/** Whatever has its name is whole. */
function isWhole(models: string): void {
  for (const name of standing(models)) expect(readFileSync(join(models, name, 'weights'), 'utf8')).toBe(name.repeat(65_536));
}

describe.runIf(asRoot)('the first run ever on a full disk', () => {
  it('by prune evicts, frees space, and has it in the history', async () => {
    const { machine, models, file } = fullMachine();
    const { code, stdout, stderr } = await machine.run('prune', '-f', file, '--settle', '0s');
    expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('evicted 2 entries');
    expect(standing(models)).toEqual(['c', 'd']);
    isWhole(models);
    expect(statfsSync(models).ffree).toBeGreaterThan(0);
    const history = JSON.parse((await machine.run('history', '-f', file, '-o', 'json')).stdout) as { events: { key: string; event: string; reason: string }[] };
    expect(history.events.map(({ key, event, reason }) => [event, key, reason])).toEqual([['Evicted', 'b', 'MaxEntries'], ['Evicted', 'a', 'MaxEntries']]);
  });

  it.each([0, 1, 2, 3])('is finished by the next one where it is killed at its settle number %i', async (settles) => {
    const { machine, models, file } = fullMachine();
    const { child, stderr } = start(machine, 'prune', '-f', file, '--settle', '1s');
    const ended = once(child, 'close');
    // Each settle lasts a second; it is killed in the middle of one.
    while (!stderr().includes('waiting') && child.exitCode === null) await sleep(20);
    await sleep(500 + 1_000 * settles);
    child.kill('SIGKILL');
    await ended;
    isWhole(models);
    const next = await machine.run('prune', '-f', file, '--settle', '0s');
    expect({ code: next.code, stderr: next.stderr }, next.stdout).toEqual({ code: 0, stderr: '' });
    expect(standing(models)).toEqual(['c', 'd']);
    isWhole(models);
    expect(execFileSync('find', [models, '-name', '.cachepolicy-*'], { encoding: 'utf8' })).toBe('');
  });

  it('by an agent evicts, and keeps the limits from then on', async () => {
    const { machine, models, file } = fullMachine();
    const { child, stderr } = start(machine, 'agent', '-f', file, '--settle', '0s', '--rest', '0s');
    const deadline = performance.now() + 30_000;
    while (standing(models).length > 2 && performance.now() < deadline) await sleep(50);
    expect(standing(models), stderr()).toEqual(['c', 'd']);
    rmSync(join(machine.allowedRoot, 'many'), { recursive: true });
    mkdirSync(join(models, 'e'));
    writeFileSync(join(models, 'e', 'weights'), 'e'.repeat(65_536));
    while (existsSync(join(models, 'c')) && performance.now() < deadline) await sleep(50);
    expect(standing(models), stderr()).toEqual(['d', 'e']);
    child.kill('SIGTERM');
    expect(await once(child, 'close')).toEqual([0, null]);
  });
});
