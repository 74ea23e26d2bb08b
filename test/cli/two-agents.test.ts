import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { readJournal } from '../../src/cache/journal.ts';
import { readMemory } from '../../src/cache/state.ts';
import { Machine } from './machine.ts';

/** The home of the runtime has 8 entries, of which one is in use. */
const inAll = 8;

/** An agent, and whether it has looked at the cache for the first time. */
function start(machine: Machine, policy: string): { process: ChildProcess; isAtWork: () => boolean } {
  const main = join(import.meta.dirname, '../../src/main.ts');
  const flags = ['--allowed-root', machine.allowedRoot, '--settle', '1s', '--rest', '0s'];
  const agent = spawn(process.execPath, [main, 'agent', ...flags, '-f', policy], { stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void agent.kill('SIGKILL'));
  let log = '';
  for (const stream of [agent.stdout, agent.stderr]) stream.on('data', (chunk: Buffer) => (log += chunk.toString()));
  return { process: agent, isAtWork: () => log.includes('"looked"') };
}

async function until(what: () => boolean): Promise<void> {
  const deadline = performance.now() + 90_000;
  while (!what()) {
    if (performance.now() > deadline) throw new Error(`it did not come: ${what}`);
    await sleep(50);
  }
}

test('of two agents in one cache each waits for the other: nothing is evicted or counted twice', async () => {
  using machine = new Machine();
  const root = join(machine.home(), 'cache/rootfs');
  const place = { root, format: 'a3s-rootfs', allowedRoots: [machine.allowedRoot] } as const;
  const policyWith = (maxEntries: number) => machine.policy({ limits: `{maxEntries: ${maxEntries}}` });
  const counted = () => (existsSync(join(root, '.cachepolicy')) ? readMemory(place)?.totals.evictedEntries : undefined);
  const entries = () => readdirSync(root).filter((name) => name.endsWith('.meta.json')).length;
  const agents = [1, 2].map(() => start(machine, policyWith(inAll)));
  await until(() => agents.every(({ isAtWork }) => isAtWork()));
  // Each change is seen by both, within two seconds of each other; both want to evict the same.
  for (const left of [5, 2]) {
    policyWith(left);
    await until(() => entries() === left && counted() === inAll - left);
  }
  for (const agent of agents) agent.process.kill('SIGTERM');
  const codes = await Promise.all(agents.map(async (agent) => agent.process.exitCode ?? ((await once(agent.process, 'exit')) as [number])[0]));
  expect(codes).toEqual([0, 0]);
  const { records } = readJournal(place);
  expect(records.map(({ event }) => event)).toEqual(Array.from({ length: inAll - 2 }, () => 'Evicted'));
  expect(new Set(records.map(({ key }) => key)).size).toBe(inAll - 2);
  expect(counted()).toBe(inAll - 2);
}, 240_000);
