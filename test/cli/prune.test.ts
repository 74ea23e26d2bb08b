import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Cache } from '../../src/cache/pass.ts';
import { tryLock } from '../../src/disk/lock.ts';
import { openRoot } from '../../src/disk/pinned-root.ts';
import type { Image } from '../fixtures/homes.ts';
import { images, rootfsKeys } from '../fixtures/homes.ts';
import { Machine } from './machine.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';

let machine: Machine;
let home: string;
let rootfs: string;

beforeEach(() => {
  machine = new Machine();
  home = machine.home();
  rootfs = join(home, 'cache/rootfs');
});

afterEach(() => machine[Symbol.dispose]());

const prune = (...args: string[]) => machine.run('prune', '--settle', '0s', ...args);

/** Images whose tree and metadata both stand. */
function standing(): Image[] {
  const names = new Set(readdirSync(rootfs));
  return images.filter((image) => names.has(rootfsKeys[image]) && names.has(`${rootfsKeys[image]}.meta.json`));
}

interface CacheJson {
  name: string;
  stats: object;
  evicted: { key: string; sizeBytes: number; reason: string }[];
  wouldEvict: { key: string; sizeBytes: number; reason: string }[];
  errors: { code: string; message: string }[];
}

function cachesOf(stdout: string): CacheJson[] {
  return (JSON.parse(stdout) as { caches: CacheJson[] }).caches;
}

describe('prune', () => {
  it('evicts exactly the least recently used, never what a box uses, and deletes it', async () => {
    const kept = images.filter((image) => ['redis:8', 'busybox:1.37', 'alpine:3.22', 'nginx:1.27'].includes(image));
    const trees = () => machine.listing().filter((line) => kept.some((image) => line.includes(`${rootfsKeys[image]}/`)));
    const before = trees();
    const { code, stderr } = await prune('-f', machine.policy({ limits: '{maxEntries: 4}' }));
    expect(code, stderr).toBe(0);
    expect(standing()).toEqual(kept);
    expect(trees()).toEqual(before);
    expect(readdirSync(join(rootfs, '.cachepolicy/trash'))).toEqual([]);
  });

  it('says what it evicted, why, and what is left', async () => {
    const { stdout } = await prune('-f', machine.policy({ limits: '{maxEntries: 6, maxBytes: 180Ki}' }));
    expect(stdout.replaceAll(machine.allowedRoot, '/allowed')).toBe(`rootfs  /allowed/home/cache/rootfs
  KEY            DESCRIPTION                          SIZE     REASON
  0732d331fa4a   docker.io/library/postgres:17        19.6Ki   MaxEntries: 7th of 8 by last use, 6 allowed
  109dd4191dcd   docker.io/library/python:3.14-slim   25.5Ki   MaxEntries: 6th of 8 by last use, 6 allowed
  c8740c8fc3a8   docker.io/library/node:24-slim       31.3Ki   MaxBytes: 5th of 8 by last use, 180Ki allowed
  evicted 3 entries, 76.4Ki; held: 1 in use, 0 kept, 0 recent
  entries   5 of 6           ████████████████▋      83%
  bytes     150.7Ki of 180Ki ████████████████▊      84%
`);
  });

  it('prints JSON of the agreed shape', async () => {
    const { stdout } = await prune('-f', machine.policy({ limits: '{maxEntries: 7}' }), '-o', 'json');
    const nothing = { entries: 0, bytes: 0 };
    expect(cachesOf(stdout)).toEqual([{
      name: 'rootfs', policy: 'a3s-box', root: rootfs, mode: 'Enforce',
      stats: { entryCount: 7, totalBytes: 212_497 }, usage: '100%',
      expiredPins: [], held: { inUse: { entries: 1, bytes: 14_071 }, kept: nothing, recent: nothing },
      damaged: [], leaving: nothing, leftovers: [], unrecognised: [], clockDoubt: null, errors: [],
      otherBytes: { damaged: 0, leftovers: 0, unrecognised: 0, own: expect.any(Number) as number, unmeasured: 0 }, bytesInAll: expect.any(Number) as number,
      evicted: [{ key: rootfsKeys['postgres:17'], sizeBytes: 20_071, freedBytes: 20_071, reason: 'MaxEntries' }],
      wouldEvict: [], unmet: [], revived: 0, raced: 0, failed: 0, leftoversRemoved: 0, purged: { entries: 1, bytes: 20_071 },
    }]);
  });

  it('says so where a limit cannot be met', async () => {
    const { code, stdout } = await prune('-f', machine.policy({ limits: '{maxEntries: 0}' }));
    expect(code).toBe(3);
    expect(standing()).toEqual(['redis:8']);
    expect(stdout).toContain('held: 1 in use, 0 kept, 0 recent\n  MaxEntries cannot be met: 1 of 0 stay, protected\n');
  });

  it('does nothing the second time', async () => {
    const file = machine.policy();
    await prune('-f', file);
    const { code, stdout } = await prune('-f', file, '-o', 'json');
    expect(code).toBe(0);
    expect(cachesOf(stdout)).toMatchObject([{ evicted: [], stats: { entryCount: 4 } }]);
  });

  it('prunes layers, which nothing marks as in use', async () => {
    const { code, stdout } = await prune('-f', machine.policy({ store: 'Layers', limits: '{maxEntries: 2}' }), '-o', 'json');
    expect(code).toBe(0);
    expect(cachesOf(stdout)).toMatchObject([{ name: 'layers', stats: { entryCount: 2 } }]);
    expect(readdirSync(join(home, 'cache/layers')).filter((name) => /^sha256_[0-9a-f]{64}$/.test(name))).toHaveLength(2);
  });

  it.each([
    ['--dry-run', ''],
    ['mode: DryRun', '  mode: DryRun\n'],
    ['mode: Suspended', '  mode: Suspended\n'],
  ])('touches nothing with %s, and shows what would go', async (how, spec) => {
    const before = machine.listing();
    const file = machine.policy({ spec });
    const flags = how.startsWith('--') ? [how] : [];
    const { code, stdout, stderr } = await prune('-f', file, ...flags, '-o', 'json');
    expect(code).toBe(0);
    expect(cachesOf(stdout)).toMatchObject([{ evicted: [], stats: { entryCount: 8 } }]);
    const would = (['postgres:17', 'python:3.14-slim', 'node:24-slim', 'golang:1.26'] as const).map((image) => rootfsKeys[image]);
    expect(cachesOf(stdout)[0]?.wouldEvict.map(({ key }) => key)).toEqual(would);
    expect((await prune('-f', file, ...flags)).stdout).toContain('would evict 4 entries, 113.6Ki; held: 1 in use');
    if (spec !== '') expect(stderr).toContain(`note: a3s-box: mode is ${how.slice(6)}: nothing is evicted\n`);
    expect(machine.listing()).toEqual(before);
  });

  it('says that schedule and nodeSelector do not act here, and that the runtime prunes itself', async () => {
    const spec = '  schedule: {cron: "0 3 * * *"}\n  nodeSelector: {pool: x}\n';
    const { code, stderr } = await prune('-f', machine.policy({ spec, limits: '{maxEntries: 10}' }));
    expect(code).toBe(0);
    expect(stderr).toBe(`note: a3s-box: schedule is ignored: the limits are applied now
note: a3s-box: nodeSelector is ignored: this machine is meant
note: a3s-box: rootfs: the runtime itself keeps at most 10 entries and 10Gi; limits at or above that change nothing
`);
  });

  it('applies every policy of every file', async () => {
    const layers = machine.policy({ store: 'Layers', name: 'layers-too', file: 'layers.yaml', limits: '{maxEntries: 1}' });
    const { stdout } = await prune('-f', machine.policy(), '-f', layers);
    expect(stdout).toMatch(/^a3s-box\/rootfs {2}.*\/rootfs\n[^]*\n\nlayers-too\/layers {2}.*\/layers\n/);
    expect(standing()).toHaveLength(4);
  });

  it('goes on with the other caches where one fails, and ends with status 1', async () => {
    writeFileSync(join(home, 'boxes/box-1/.rootfs-cache-key'), 'no key');
    const layers = machine.policy({ store: 'Layers', name: 'layers-too', file: 'layers.yaml', limits: '{maxEntries: 1}' });
    const { code, stdout } = await prune('-f', machine.policy(), '-f', layers, '-o', 'json');
    expect(code).toBe(1);
    expect(cachesOf(stdout)).toMatchObject([
      { evicted: [], errors: [{ code: 'ERR_HOLDS_UNREADABLE' }], stats: { entryCount: 8 } },
      { errors: [], stats: { entryCount: 1 } },
    ]);
    const text = (await prune('-f', machine.policy())).stdout;
    expect(text).toMatch(/^rootfs {2}.*\n {2}failed: the marker of box box-1 is no key: .*\n/);
  });

  it('tells that a cache is busy, and ends with status 1', async () => {
    await prune('-f', machine.policy());
    using root = openRoot(rootfs, { allowedRoots: [machine.allowedRoot] });
    using lock = tryLock(root, '.cachepolicy/lock');
    expect(lock).toBeDefined();
    const file = machine.policy({ limits: '{maxEntries: 1}' });
    expect(cachesOf((await prune('-f', file, '-o', 'json')).stdout)).toMatchObject([{ stats: null, held: null, usage: '-', evicted: [], errors: [{ code: 'ERR_LOCK_BUSY' }] }]);
    const { code, stdout } = await prune('-f', file);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^rootfs {2}.*\n {2}failed: .*\n$/);
    expect(standing()).toHaveLength(4);
  });

  it('lets what it evicted rest where it is told to, says so, and deletes it then', async () => {
    const { code, stderr } = await prune('-f', machine.policy(), '--rest', '3s');
    expect(code).toBe(0);
    expect(stderr).toMatch(/rootfs: evicted entries rest for [1-3]s\nrootfs: deleting 4 entries\n$/);
    expect(readdirSync(join(rootfs, '.cachepolicy/trash'))).toEqual([]);
  });

  it('names as evicted nothing that came back while it rested, and evicts the next one in its place', async () => {
    const end = prune('-f', machine.policy(), '--rest', '3s', '-o', 'json');
    const wanted = rootfsKeys['postgres:17'];
    await vi.waitFor(() => expect(readdirSync(rootfs)).not.toContain(wanted), { timeout: 2_000, interval: 10 });
    mkdirSync(join(home, 'boxes/new'));
    writeFileSync(join(home, 'boxes/new/.rootfs-cache-key'), wanted);
    const [cache] = cachesOf((await end).stdout);
    expect(cache).toMatchObject({ evicted: { length: 4 }, revived: 1, purged: { entries: 4 }, stats: { entryCount: 4 } });
    expect(cache?.evicted.map(({ key }) => key)).not.toContain(wanted);
    expect(standing()).toContain('postgres:17');
  });

  it('evicts the next one in the same run where one turns out to be in use while it leaves', async () => {
    const end = machine.run('prune', '--settle', '1s', '-f', machine.policy({ limits: '{maxEntries: 7}' }), '-o', 'json');
    const wanted = rootfsKeys['postgres:17'];
    await vi.waitFor(() => expect(readdirSync(rootfs)).not.toContain(`${wanted}.meta.json`), { timeout: 5_000, interval: 10 });
    mkdirSync(join(home, 'boxes/new'));
    writeFileSync(join(home, 'boxes/new/.rootfs-cache-key'), wanted);
    const [cache] = cachesOf((await end).stdout);
    expect(cache).toMatchObject({ evicted: [{ key: rootfsKeys['python:3.14-slim'] }], revived: 1, stats: { entryCount: 7 } });
    expect(standing()).toContain('postgres:17');
  });

  it('cuts no rest short of what somebody else evicted', async () => {
    using other = new Cache(
      { name: 'agent', format: 'a3s-rootfs', root: rootfs, home, limits: { ...noLimits, maxEntries: 7 }, protect: noProtection },
      { allowedRoots: [machine.allowedRoot], settleMs: 0 },
    );
    await other.pass({ mode: 'Enforce', trigger: 'Schedule' });
    const [cache] = cachesOf((await prune('-f', machine.policy(), '-o', 'json')).stdout);
    expect(cache).toMatchObject({ evicted: { length: 3 }, purged: { entries: 3 } });
    expect(readdirSync(join(rootfs, '.cachepolicy/trash'))).toEqual([expect.stringContaining(rootfsKeys['postgres:17'])]);
  });

  it('shows that it waits before it evicts', async () => {
    const { stderr } = await machine.run('prune', '--settle', '1s', '-f', machine.policy({ limits: '{maxEntries: 7}' }));
    expect(stderr).toContain('rootfs: waiting 1s for a sign that any of 1 entry is wanted\n');
  });

  it('keeps everything where boxes/ is missing beside a filled store', async () => {
    rmSync(join(home, 'boxes'), { recursive: true });
    const { code } = await prune('-f', machine.policy({ limits: '{maxEntries: 0}' }));
    expect(code).toBe(1);
    expect(standing()).toHaveLength(8);
  });
});

describe('prune of the damaged home', () => {
  beforeEach(() => {
    rmSync(home, { recursive: true });
    home = machine.home({ damaged: true });
  });

  const damaged = [rootfsKeys['golang:1.26'], rootfsKeys['busybox:1.37'], 'linked-entry', 'neg'];

  it('reads it as its README says', async () => {
    const { code, stdout } = await prune('-f', machine.policy({ limits: '{maxEntries: 4}' }), '-o', 'json');
    expect(code).toBe(0);
    expect(cachesOf(stdout)).toMatchObject([{
      // Whole by their metadata: redis (in use), node (half a tree cannot be told from a whole one), nginx, alpine (clock ahead).
      stats: { entryCount: 4, totalBytes: 14_071 + 32_071 + 8_071 + 50_071 },
      held: { inUse: { entries: 1 }, recent: { entries: 1, bytes: 50_071 } },
      evicted: [], errors: [],
      damaged: [
        { name: rootfsKeys['golang:1.26'], reason: 'MetadataMalformed' },
        { name: rootfsKeys['busybox:1.37'], reason: 'MetadataNamesAnotherKey' },
        { name: 'linked-entry', reason: 'NotADirectory' },
        { name: 'neg', reason: 'MetadataValueInvalid' },
      ],
      leftovers: [
        { name: '.staging-Ab12Cd', kind: 'Staging' },
        { name: '.tmpQw3rTy', kind: 'Temp' },
        { name: rootfsKeys['postgres:17'], kind: 'Orphan' },
        { name: rootfsKeys['python:3.14-slim'], kind: 'Ghost' },
      ],
      unrecognised: ['notes.txt', 'unrelated-folder'],
    }]);
  });

  it('names ten examples of 3,000 unrecognised names, however it prints them', async () => {
    for (let i = 0; i < 3_000; i += 1) writeFileSync(join(rootfs, `unknown-name-${i}.txt`), '');
    const policy = machine.policy({ limits: '{maxEntries: 100}' });
    for (const args of [['plan', '-f', policy], ['prune', '--settle', '0s', '-f', policy]]) {
      const { stdout, stderr } = await machine.run(...args);
      expect(stdout).toContain('not recognised, never touched: 3002 names, such as notes.txt, ');
      expect(stdout.match(/unknown-name-/g)).toHaveLength(9);
      expect(stderr).not.toContain('unknown-name-');
      expect(Math.max(...`${stdout}\n${stderr}`.split('\n').map((line) => line.length))).toBeLessThan(1_000);
    }
  });

  it('evicts entries alone: what is damaged or unknown is neither touched nor followed', async () => {
    mkdirSync(join(machine.allowedRoot, 'victim'));
    const untouchable = [...damaged, 'notes.txt', 'unrelated-folder'];
    const listed = () => machine.listing().filter((line) => line.includes('/victim') || untouchable.some((name) => line.includes(`/rootfs/${name}`)));
    const before = listed();
    const { code, stdout } = await prune('-f', machine.policy({ limits: '{maxEntries: 0}', minIdle: '0s' }), '-o', 'json');
    expect(code).toBe(3);
    expect(cachesOf(stdout)[0]?.evicted.map(({ key }) => key)).toEqual([rootfsKeys['node:24-slim'], rootfsKeys['nginx:1.27'], rootfsKeys['alpine:3.22']]);
    expect(standing()).toContain('redis:8');
    expect(listed()).toEqual(before);
  });
});

describe('prune as a process', () => {
  function start(...args: string[]) {
    const main = join(import.meta.dirname, '../../src/main.ts');
    return spawn(process.execPath, [main, 'prune', '--allowed-root', machine.allowedRoot, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  }

  async function ended(child: ReturnType<typeof start>): Promise<{ code: number | null; stdout: string; stderr: string }> {
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stdout, stderr };
  }

  it('reads policies from standard input, several documents at once, however slowly they come', async () => {
    const child = start('-f', '-', '--settle', '0s');
    const document = (name: string, store: string) => `apiVersion: cache.a3s.dev/v1alpha1
kind: CachePolicy
metadata: {name: ${name}}
spec: {caches: [{name: ${name}, a3sBox: {home: ${home}, store: ${store}}, limits: {maxEntries: 1}}]}
`;
    child.stdin.write(`${document('one', 'Rootfs')}---\n`);
    const end = ended(child);
    await sleep(1_000);
    child.stdin.end(document('two', 'Layers'));
    const { code, stdout } = await end;
    expect(code).toBe(0);
    expect(stdout).toMatch(/^one\/one {2}[^]*\ntwo\/two {2}/);
  });

  it('reads what `kubectl get cachepolicies -o yaml` writes: a list, with what the API server adds', async () => {
    const child = start('-f', '-', '--settle', '0s', '-o', 'json');
    const item = (name: string, store: string) => `- apiVersion: cache.a3s.dev/v1alpha1
  kind: CachePolicy
  metadata: {name: ${name}, uid: 7f1c, generation: 3, resourceVersion: "17", creationTimestamp: "2026-11-01T10:00:00Z", annotations: {a: b}}
  spec: {caches: [{name: ${name}, a3sBox: {home: ${home}, store: ${store}}, limits: {maxEntries: 1}}]}
  status: {observedGeneration: 3, reporting: 1/1}
`;
    child.stdin.end(`apiVersion: v1\nkind: List\nitems:\n${item('one', 'Rootfs')}${item('two', 'Layers')}metadata: {resourceVersion: ""}\n`);
    const { stdout, stderr } = await ended(child);
    expect(stderr).not.toContain('Unsupported value');
    expect((JSON.parse(stdout) as { caches: { name: string }[] }).caches.map(({ name }) => name)).toEqual(['one', 'two']);
  });

  it('ends with status 2 and one line, and no stack, where the input is wrong', async () => {
    const child = start('-f', machine.policy({ limits: '{maxBytes: 10Gx}' }));
    child.stdin.end();
    const { code, stdout, stderr } = await ended(child);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^\S+policy\.yaml:9: spec\.caches\[0\]\.limits\.maxBytes: "10Gx": .* such as 10Gi\n$/);
  });

  it('puts back what has not left yet when it is interrupted', async () => {
    const child = start('-f', machine.policy(), '--settle', '60s');
    child.stdin.end();
    child.stderr.once('data', () => child.kill('SIGINT'));
    const { code, stderr } = await ended(child);
    expect(code).toBe(130);
    expect(stderr).toMatch(/\nstopped; what had not left a cache yet is back/);
    expect(standing()).toEqual(images);
  });

  it('tells what it has evicted when it is interrupted while that rests, and leaves the rest to the next run', async () => {
    const layers = machine.policy({ file: 'layers.yaml', name: 'layers', store: 'Layers', limits: '{maxEntries: 0}' });
    const child = start('-f', machine.policy(), '-f', layers, '--settle', '0s', '--rest', '1h');
    child.stdin.end();
    child.stderr.on('data', (text: Buffer) => text.includes('rest for') && !child.killed && child.kill('SIGINT'));
    const { code, stdout, stderr } = await ended(child);
    expect(code).toBe(130);
    expect(stdout).toMatch(/^a3s-box\/rootfs {2}[^]*evicted 4 entries[^]*\nlayers\/layers {2}[^]*evicted 5 entries/);
    expect(stderr).toMatch(/\nstopped; what/);
    expect(standing()).toHaveLength(4);
    const again = await prune('-f', machine.policy({ limits: '{maxEntries: 8}' }), '-o', 'json');
    expect(cachesOf(again.stdout)).toMatchObject([{ evicted: [] }]);
  });
});
