import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { Machine } from './machine.ts';

const main = join(import.meta.dirname, '../../src/main.ts');
const monthMs = 30 * 86_400_000;

/** A process whose wall clock is a month ahead, on a machine that booted a day ago. */
const ahead = ['--import', `data:text/javascript,const now=Date.now;Date.now=()=>now()+${monthMs};`];

function machineWithModels(): { machine: Machine; path: string; file: string } {
  const machine = Machine.forTest();
  const path = join(machine.allowedRoot, 'models');
  mkdirSync(path);
  for (const name of ['a', 'b', 'c']) {
    writeFileSync(join(path, name), name);
    const at = Date.now() / 1000 - 3600;
    utimesSync(join(path, name), at, at);
  }
  const file = machine.directoryPolicy({ path, limits: '{maxIdle: 7d}' });
  return { machine, path, file };
}

function argsOf(machine: Machine, command: string, file: string, ...rest: string[]): string[] {
  return [main, command, '--allowed-root', machine.allowedRoot, '--settle', '0s', '--rest', '0s', '-f', file, ...rest];
}

const models = (path: string) => readdirSync(path).filter((name) => !name.startsWith('.'));

test('prune evicts nothing for maxIdle by a clock that is a month ahead of that of the run before, and says why', () => {
  const { machine, path, file } = machineWithModels();
  const prune = (node: readonly string[], ...rest: string[]) => spawnSync(process.execPath, [...node, ...argsOf(machine, 'prune', file, ...rest)], { encoding: 'utf8' });
  expect(prune([])).toMatchObject({ status: 0 });
  expect(prune(ahead)).toMatchObject({ status: 0, stdout: expect.stringContaining('  note: the clock was set 30d ahead, so nothing is evicted for maxIdle and no pin expires; after ten minutes and two runs the clock is believed\n') });
  const { caches } = JSON.parse(prune(ahead, '-o', 'json').stdout) as { caches: { clockDoubt: string; evicted: object[] }[] };
  expect(caches).toMatchObject([{ clockDoubt: 'the clock was set 30d ahead', evicted: [] }]);
  expect(models(path)).toEqual(['a', 'b', 'c']);
}, 180_000);

test('an agent that starts with a clock a month ahead of that of the agent before empties no cache, and logs why once', async () => {
  const { machine, path, file } = machineWithModels();
  const agent = async (node: readonly string[], until: (log: string) => boolean, thenMs: number) => {
    const child = spawn(process.execPath, [...node, ...argsOf(machine, 'agent', file)], { stdio: ['ignore', 'ignore', 'pipe'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    let log = '';
    child.stderr.on('data', (text: Buffer) => (log += text.toString()));
    const deadline = performance.now() + 60_000;
    while (!until(log)) {
      if (performance.now() > deadline) throw new Error(`it did not come; log:\n${log}`);
      await sleep(50);
    }
    // Something else changes, so that it passes again.
    for (let i = 0; i < thenMs / 1_000; i += 1) {
      await sleep(1_000);
      writeFileSync(join(path, 'new'), String(i));
    }
    child.kill('SIGTERM');
    await once(child, 'close');
    return log;
  };
  await agent([], (log) => log.includes('"looked"'), 0);
  const log = await agent(ahead, (text) => text.includes('the clock was set 30d ahead'), 6_000);
  expect(log.match(/the clock is not believed/g)).toHaveLength(1);
  expect(models(path)).toEqual(['a', 'b', 'c', 'new']);
}, 180_000);
