import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Machine } from './machine.ts';

let machine: Machine;
let rootfs: string;
let child: ChildProcess | undefined;
let log = '';

beforeEach(() => {
  machine = new Machine();
  rootfs = join(machine.home(), 'cache/rootfs');
  log = '';
});

afterEach(async () => {
  if (child?.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  child = undefined;
  machine[Symbol.dispose]();
});

function start(...args: string[]): ChildProcess {
  const main = join(import.meta.dirname, '../../src/main.ts');
  const flags = ['--allowed-root', machine.allowedRoot, '--settle', '0s', '--rest', '0s'];
  child = spawn(process.execPath, [main, 'agent', ...flags, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  return child;
}

const entries = () => readdirSync(rootfs).filter((name) => name.endsWith('.meta.json')).length;

async function until(what: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!what()) {
    if (performance.now() > deadline) throw new Error(`it did not come: ${entries()} entries; log:\n${log}`);
    await sleep(50);
  }
}

describe('agent -f', () => {
  it('keeps the limits of a file that changes, keeps the last good ones where it turns bad, and ends at SIGTERM', async () => {
    const file = machine.policy({ limits: '{maxEntries: 6}' });
    const agent = start('-f', file);
    await until(() => entries() === 6);
    machine.policy({ limits: '{maxEntries: 4}' });
    await until(() => entries() === 4);
    machine.policy({ limits: '{maxEntries: -1}' });
    await until(() => log.includes('the policies stay as they were'));
    expect(log).toContain('-1 should be greater than or equal to 0');
    expect(entries()).toBe(4);
    machine.policy({ limits: '{maxEntries: 3}' });
    await until(() => entries() === 3);
    agent.kill('SIGTERM');
    expect(await once(agent, 'close')).toEqual([0, null]);
  });

  it('refuses a file that is wrong from the start, with status 2 and one line', async () => {
    const agent = start('-f', machine.policy({ home: '/etc/a3s' }));
    expect(await once(agent, 'close')).toEqual([2, null]);
    expect(log).toMatch(/^\S+policy\.yaml:8: spec\.caches\[0\]\.a3sBox\.home: \/etc\/a3s is not strictly below an allowed root; .*\n$/);
    expect(entries()).toBe(8);
  });
});
