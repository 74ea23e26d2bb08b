import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { rootfsKeys } from '../fixtures/homes.ts';
import { asRoot, mount, smallDisk } from '../disk/scratch.ts';
import { Machine } from './machine.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

/** A cache with entries of different ages, and what stands under the name of the oldest while it leaves. */
interface Setup {
  readonly machine: Machine;
  readonly file: string;
  readonly writePolicy: (maxEntries: number) => string;
  readonly isLeaving: () => boolean;
}

function newMachine(): Machine {
  const machine = Machine.forTest();
  return machine;
}

function policyOf(machine: Machine, path: string, maxEntries: number): string {
  return machine.directoryPolicy({ path, limits: `{maxEntries: ${maxEntries}}` });
}

/** `model-0` was used longest ago. */
function addModel(path: string, i: number): void {
  const model = join(path, `model-${i}`);
  mkdirSync(join(model, 'shards'), { recursive: true });
  writeFileSync(join(model, 'shards/weights'), Buffer.alloc(10_000, i));
  const at = Date.now() / 1000 - (10 - i) * 3600;
  for (const each of ['shards/weights', 'shards', '.']) utimesSync(join(model, each), at, at);
}

const formats: Record<string, () => Setup> = {
  directory: () => {
    const machine = newMachine();
    const path = join(machine.allowedRoot, 'models');
    for (let i = 0; i < 5; i += 1) addModel(path, i);
    const writePolicy = (maxEntries: number) => policyOf(machine, path, maxEntries);
    return { machine, writePolicy, file: writePolicy(3), isLeaving: () => lstatSync(join(path, 'model-0')).isSymbolicLink() };
  },
  'a3sBox store': () => {
    const machine = newMachine();
    const rootfs = join(machine.home(), 'cache/rootfs');
    const metadata = () => readdirSync(rootfs).filter((name) => name.endsWith('.meta.json')).length;
    const [before, keys] = [metadata(), Object.values(rootfsKeys).length];
    expect(before).toBe(keys);
    const writePolicy = (maxEntries: number) => machine.policy({ limits: `{maxEntries: ${maxEntries}}` });
    return { machine, writePolicy, file: writePolicy(5), isLeaving: () => metadata() < before };
  },
};

interface Explained {
  readonly key: string;
  readonly lastAccessed: string;
  readonly verdict: string;
}

/** Every entry with its last use and its fate, least recently used first. */
async function explained(machine: Machine, file: string): Promise<readonly Explained[]> {
  const { stdout } = await machine.run('explain', '-f', file, '-o', 'json');
  const [cache] = (JSON.parse(stdout) as { caches: { entries: Explained[] }[] }).caches;
  return cache!.entries.map(({ key, lastAccessed, verdict }) => ({ key, lastAccessed, verdict }));
}

function start(machine: Machine, command: string, file: string, settle = '3s'): ChildProcess & { log: string } {
  const args = [main, command, '--allowed-root', machine.allowedRoot, '--settle', settle, '--rest', '0s', '-f', file];
  const child = Object.assign(spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] }), { log: '' });
  child.stderr.on('data', (text: Buffer) => (child.log += text.toString()));
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

async function until(what: () => boolean, child: { log: string }): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!what()) {
    if (performance.now() > deadline) throw new Error(`it did not come; log:\n${child.log}`);
    await sleep(20);
  }
}

describe.each(Object.entries(formats))('a stopped eviction from a cache of the kind %s', (_, make) => {
  test('by SIGINT in the settle of a prune: every entry keeps its last use and its fate', async () => {
    const { machine, file, isLeaving } = make();
    const before = await explained(machine, file);
    const child = start(machine, 'prune', file);
    await until(isLeaving, child);
    child.kill('SIGINT');
    expect(await once(child, 'close')).toEqual([130, null]);
    expect(await explained(machine, file)).toEqual(before);
  }, 180_000);

  test('by SIGTERM of an agent: every entry keeps its last use and its fate', async () => {
    const { machine, file, isLeaving } = make();
    const before = await explained(machine, file);
    const child = start(machine, 'agent', file);
    await until(isLeaving, child);
    child.kill('SIGTERM');
    expect(await once(child, 'close')).toEqual([0, null]);
    expect(await explained(machine, file)).toEqual(before);
  }, 180_000);

  test('by an edit of the policy: every entry keeps its last use', async () => {
    const { machine, file, writePolicy, isLeaving } = make();
    const before = await explained(machine, file);
    // Longer than it takes an agent to read a file that has changed.
    const child = start(machine, 'agent', file, '60s');
    await until(isLeaving, child);
    writePolicy(100);
    await until(() => !isLeaving(), child);
    child.kill('SIGTERM');
    await once(child, 'close');
    expect(await explained(machine, file)).toEqual(before.map((each) => ({ ...each, verdict: 'keep' })));
  }, 180_000);
});

interface Stuck {
  readonly machine: Machine;
  readonly path: string;
  /** In front of a command line: another user, say. */
  readonly prefix?: readonly string[];
}

/** How the least recently used entry can be there and not be taken out. */
const obstacles: Record<string, () => Stuck | undefined> = {
  'is immutable': () => {
    const disk = smallDisk('ext4', { sizeMiB: 16 });
    if (disk === undefined) return undefined;
    const [machine, path] = [newMachine(), join(disk, 'models')];
    for (let i = 0; i < 5; i += 1) addModel(path, i);
    execFileSync('chattr', ['+i', join(path, 'model-0')]);
    onTestFinished(() => void execFileSync('chattr', ['-i', join(path, 'model-0')]));
    return { machine: Object.assign(machine, { allowedRoot: disk }), path };
  },
  'belongs to another user in a sticky directory': () => {
    const machine = newMachine();
    const path = join(machine.allowedRoot, 'models');
    mkdirSync(path);
    for (const dir of [machine.dir, machine.allowedRoot]) chmodSync(dir, 0o755);
    for (let i = 1; i < 5; i += 1) addModel(path, i);
    execFileSync('chown', ['-R', '65534:65534', path]);
    execFileSync('chown', ['0:0', path]);
    chmodSync(path, 0o1777);
    mkdirSync(join(path, 'model-0'));
    utimesSync(join(path, 'model-0'), 1_000_000, 1_000_000);
    return { machine, path, prefix: ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'] };
  },
  'lies in the lower layer of an overlay': () => {
    const disk = smallDisk('tmpfs', { sizeMiB: 16 })!;
    for (const dir of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(disk, dir));
    addModel(join(disk, 'lower/models'), 0);
    const merged = join(disk, 'merged');
    mount('-t', 'overlay', 'overlay', '-o', ['lowerdir=lower', 'upperdir=upper', 'workdir=work'].map((each) => each.replace('=', `=${disk}/`)).join(','), merged);
    const path = join(merged, 'models');
    for (let i = 1; i < 5; i += 1) addModel(path, i);
    return { machine: Object.assign(newMachine(), { allowedRoot: merged }), path };
  },
};

describe.runIf(asRoot)('an entry that cannot be taken out', () => {
  const prune = ({ machine, prefix = [] }: Stuck, file: string) => {
    const [command, ...args] = [...prefix, process.execPath, main, 'prune', '--allowed-root', machine.allowedRoot, '--settle', '0s', '-f', file, '-o', 'json'];
    const { status, stdout, stderr } = spawnSync(command!, args, { encoding: 'utf8' });
    const [cache] = (JSON.parse(stdout) as { caches: { evicted: { key: string }[]; errors: { entry?: string }[]; revived: number }[] }).caches;
    return { status, stderr, evicted: cache!.evicted.map(({ key }) => key), failed: cache!.errors.map(({ entry }) => entry), revived: cache!.revived };
  };

  test.each(Object.entries(obstacles))('because it %s is named by every run, with exit status 1, and no newer entry goes in its place', (_, make) => {
    const stuck = make();
    if (stuck === undefined) return;
    const file = policyOf(stuck.machine, stuck.path, 3);
    expect(prune(stuck, file)).toMatchObject({ status: 1, evicted: ['model-1'], failed: ['model-0'], revived: 0 });
    for (const _again of [1, 2]) expect(prune(stuck, file)).toMatchObject({ status: 1, evicted: [], failed: ['model-0'], revived: 0 });
    expect(readdirSync(stuck.path).filter((name) => !name.startsWith('.'))).toEqual(['model-0', 'model-2', 'model-3', 'model-4']);
    expect(existsSync(join(stuck.path, 'model-0'))).toBe(true);
  }, 180_000);
});
