import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdirSync, openSync, readdirSync, readFileSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { asRoot, mount, scratchDir } from '../disk/scratch.ts';
import { rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { Machine } from './machine.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

function machineWithHome(): { machine: Machine; rootfs: string } {
  const machine = Machine.forTest();
  return { machine, rootfs: join(machine.home(), 'cache/rootfs') };
}

const entriesIn = (rootfs: string) => readdirSync(rootfs).filter((name) => name.endsWith('.meta.json')).length;

type Target = 'pipe' | 'ignore' | number;

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command as a process of its own; ended with its test. */
function start(machine: Machine, args: readonly string[], { stdout = 'pipe', stderr = 'pipe' }: { stdout?: Target; stderr?: Target } = {}) {
  const child = spawn(process.execPath, [main, ...args, '--allowed-root', machine.allowedRoot], { stdio: ['ignore', stdout, stderr] });
  const text = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk: Buffer) => (text.stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (text.stderr += chunk.toString()));
  const ended = once(child, 'close').then(([code, signal]): Ended => ({ code, signal, ...text }));
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  });
  return { child, ended };
}

function open(path: string, flags: string | number): number {
  const fd = openSync(path, flags);
  onTestFinished(() => closeSync(fd));
  return fd;
}

async function until(what: () => boolean, why: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!what()) {
    if (performance.now() > deadline) throw new Error(`it did not come: ${why}`);
    await sleep(50);
  }
}

/** A pipe that is full, whose reader sleeps. @returns the end to write to */
function fullPipe({ nonBlocking }: { nonBlocking: boolean }): number {
  const path = join(scratchDir(), 'fifo');
  execFileSync('mkfifo', [path]);
  open(path, constants.O_RDWR | constants.O_NONBLOCK);
  const filler = open(path, constants.O_WRONLY | constants.O_NONBLOCK);
  expect(() => {
    for (;;) writeSync(filler, Buffer.alloc(4096));
  }).toThrow(/EAGAIN/);
  return open(path, constants.O_WRONLY | (nonBlocking ? constants.O_NONBLOCK : 0));
}

/** The writing end of a pipe whose reader has left. */
function brokenPipe(): number {
  const path = join(scratchDir(), 'fifo');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = open(path, constants.O_WRONLY);
  closeSync(reader);
  return writer;
}

/** Standard error in every state in which a write to it fails or waits. */
const failing: readonly [what: string, open: () => number][] = [
  ['on a full device', () => open('/dev/full', 'w')],
  ['a pipe whose reader has left', brokenPipe],
  ['a full pipe that does not block', () => fullPipe({ nonBlocking: true })],
  ['a full pipe that blocks', () => fullPipe({ nonBlocking: false })],
  ['not open for writing', () => open('/dev/null', 'r')],
];

describe('a result that cannot be written', () => {
  const commands: readonly (readonly string[])[] = [
    ['plan'], ['explain', '-o', 'json'], ['stats'], ['history'], ['prune', '--settle', '0s'],
  ];

  it.each(commands.map((args) => [args.join(' '), args] as const))('of %s is one clear line on standard error and status 1', async (_, args) => {
    const { machine } = machineWithHome();
    const { code, stderr } = await start(machine, [...args, '-f', machine.policy()], { stdout: open('/dev/full', 'w') }).ended;
    const lines = stderr.split('\n').filter((line) => line.includes('standard output'));
    expect({ code, lines }).toEqual({ code: 1, lines: ['cannot write the result to standard output: no space is left (ENOSPC)'] });
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  it.each(['--help', '--version'])('of %s is one clear line, too', async (flag) => {
    const child = spawn(process.execPath, [main, flag], { stdio: ['ignore', open('/dev/full', 'w'), 'pipe'] });
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    expect(await once(child, 'close')).toEqual([1, null]);
    expect(stderr).toBe('cannot write the result to standard output: no space is left (ENOSPC)\n');
  });

  it('is no failure where the reader of a pipe has left', async () => {
    const { machine } = machineWithHome();
    const { code, stderr } = await start(machine, ['explain', '-f', machine.policy()], { stdout: brokenPipe() }).ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  it('keeps the status of a command that failed by itself', async () => {
    const { machine } = machineWithHome();
    const { code, stderr } = await start(machine, ['plan', '-f', join(machine.dir, 'nowhere.yaml')], { stdout: open('/dev/full', 'w') }).ended;
    expect(code).toBe(2);
    expect(stderr).toMatch(/^[^\n]+nowhere\.yaml[^\n]+\n$/);
  });

  it('is whole or a failure on a disk that has room for a part of it', async ({ skip }) => {
    if (!asRoot) skip('only root can mount');
    const { machine } = machineWithHome();
    const disk = scratchDir();
    mount('-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', disk);
    const out = join(disk, 'out');
    writeFileSync(out, Buffer.alloc(4_000, 10));
    const { code } = await start(machine, ['explain', '-o', 'json', '-f', machine.policy()], { stdout: open(out, 'a') }).ended;
    expect(code).toBe(1);
  });
});

describe('prune', () => {
  it.each(failing)('evicts to the end where standard error is %s', async (what, stderr) => {
    const { machine, rootfs } = machineWithHome();
    const { child, ended } = start(machine, ['prune', '--settle', '0s', '-f', machine.policy()], { stderr: stderr() });
    if (what.startsWith('a full pipe')) {
      // What waits for a reader keeps the process, as it does any other; the work is done before.
      await until(() => entriesIn(rootfs) === 4 && readdirSync(join(rootfs, '.cachepolicy/trash')).length === 0, 'the eviction');
      child.kill('SIGKILL');
      await ended;
      return;
    }
    const { code, stdout } = await ended;
    expect({ code, entries: entriesIn(rootfs) }).toEqual({ code: 0, entries: 4 });
    expect(stdout).toContain('evicted 4 entries');
  });

  it('evicts to the end where the reader of standard error leaves in the middle', async () => {
    const { machine, rootfs } = machineWithHome();
    const { child, ended } = start(machine, ['prune', '--settle', '1s', '-f', machine.policy()]);
    child.stderr?.once('data', () => child.stderr?.destroy());
    const { code, stdout } = await ended;
    expect({ code, entries: entriesIn(rootfs), trash: readdirSync(join(rootfs, '.cachepolicy/trash')) }).toEqual({ code: 0, entries: 4, trash: [] });
    expect(stdout).toContain('evicted 4 entries');
  });

  it.runIf(asRoot)('frees space with its output appended to a log on the same full disk', async () => {
    const machine = new Machine();
    onTestFinished(() => machine[Symbol.dispose]());
    mount('-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', machine.allowedRoot);
    const rootfs = join(unpackHome(machine.allowedRoot), 'cache/rootfs');
    // More than the reserve, which is filled before the result is written.
    writeFileSync(join(rootfs, rootfsKeys['postgres:17'], 'large'), Buffer.alloc(4 * 2 ** 20));
    const log = join(machine.allowedRoot, 'log');
    writeFileSync(log, '');
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${machine.allowedRoot}/fill bs=4k 2>/dev/null; true`]);
    expect(statfsSync(machine.allowedRoot).bavail).toBe(0);
    const fd = open(log, 'a');
    const { code } = await start(machine, ['prune', '--settle', '1s', '-f', machine.policy()], { stdout: fd, stderr: fd }).ended;
    expect({ code, entries: entriesIn(rootfs) }, readFileSync(log, 'utf8')).toEqual({ code: 0, entries: 4 });
    expect(statfsSync(machine.allowedRoot).bavail).toBeGreaterThan(0);
    expect(readFileSync(log, 'utf8')).toContain('evicted 4 entries');
  });
});

describe('the agent', () => {
  it.each(failing)('keeps the limits, and those that come later, where standard error is %s', async (what, stderr) => {
    const { machine, rootfs } = machineWithHome();
    const { child, ended } = start(machine, ['agent', '--settle', '0s', '--rest', '0s', '-f', machine.policy({ limits: '{maxEntries: 6}' })], { stdout: 'ignore', stderr: stderr() });
    await until(() => entriesIn(rootfs) === 6, 'the first policy');
    machine.policy({ limits: '{maxEntries: 3}' });
    await until(() => entriesIn(rootfs) === 3, 'the second policy');
    expect(child.exitCode).toBeNull();
    child.kill(what.startsWith('a full pipe') ? 'SIGKILL' : 'SIGTERM');
    await ended;
  });

  it('says how many lines of its log were lost once it can be written again', async ({ skip }) => {
    if (!asRoot) skip('only root can mount');
    const { machine, rootfs } = machineWithHome();
    const disk = scratchDir();
    mount('-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', disk);
    mkdirSync(join(disk, 'd'));
    const [log, fill] = [join(disk, 'log'), join(disk, 'fill')];
    writeFileSync(log, Buffer.alloc(4096, 10));
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${fill} bs=4k 2>/dev/null; true`]);
    start(machine, ['agent', '--settle', '0s', '--rest', '0s', '-f', machine.policy({ limits: '{maxEntries: 6}' })], { stdout: 'ignore', stderr: open(log, 'a') });
    await until(() => entriesIn(rootfs) === 6, 'the first policy');
    execFileSync('rm', [fill]);
    machine.policy({ limits: '{maxEntries: 3}' });
    await until(() => entriesIn(rootfs) === 3, 'the second policy');
    await until(() => readFileSync(log, 'utf8').includes('"evicted"'), 'a line of the log');
    const lines = readFileSync(log, 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as { msg: string; lines?: number; reason?: string });
    expect(lines[0]).toMatchObject({ msg: 'lines of the log were lost', reason: 'ENOSPC' });
    expect(lines[0]?.lines).toBeGreaterThan(0);
  });
});

describe('SIGHUP', () => {
  it('makes a prune put back what has not left yet, also where it comes twice', async () => {
    const { machine, rootfs } = machineWithHome();
    const { child, ended } = start(machine, ['prune', '--settle', '60s', '-f', machine.policy()]);
    child.stderr?.once('data', () => {
      child.kill('SIGHUP');
      child.kill('SIGHUP');
    });
    const { code, stderr } = await ended;
    expect({ code, entries: entriesIn(rootfs) }).toEqual({ code: 130, entries: 8 });
    expect(stderr).toMatch(/\nstopped; what had not left a cache yet is back/);
  });

  it('ends an agent as SIGTERM does', async () => {
    const { machine, rootfs } = machineWithHome();
    const { child, ended } = start(machine, ['agent', '--settle', '0s', '--rest', '0s', '-f', machine.policy({ limits: '{maxEntries: 6}' })]);
    await until(() => entriesIn(rootfs) === 6, 'the first policy');
    child.kill('SIGHUP');
    expect(await ended).toMatchObject({ code: 0, signal: null });
  });
});
