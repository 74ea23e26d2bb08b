import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/cache/site.ts';
import { rootfsKeys } from '../fixtures/homes.ts';
import { Machine } from './machine.ts';

// Commands that only look: one machine for each home will do.
const machine = new Machine();
const home = machine.home({ ageSeconds: 5 * 3600 + 60 });
const damaged = new Machine();
damaged.home({ damaged: true, ageSeconds: 5 * 3600 + 60 });

// As on a machine that did not boot just now.
vi.spyOn(systemClock, 'uptimeMs').mockReturnValue(30 * 86_400_000);

afterAll(() => {
  vi.restoreAllMocks();
  machine[Symbol.dispose]();
  damaged[Symbol.dispose]();
});

/** Without what differs from run to run. */
function steady(text: string): string {
  return text.replaceAll(machine.allowedRoot, '/allowed').replaceAll(damaged.allowedRoot, '/allowed').replaceAll(/(?<= {2}in all {4}).*/g, 'as the filesystem counts');
}

const both = `${machine.policy({ limits: '{maxEntries: 4, maxBytes: 10Gi, maxIdle: 10h}' })}`;

describe('plan', () => {
  it('shows each limit with a bar, and what would go', async () => {
    const { code, stdout, stderr } = await machine.run('plan', '-f', both);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(steady(stdout)).toBe(`rootfs  /allowed/home/cache/rootfs
  entries   8 of 4          ████████████████████  200%
  bytes     227.1Ki of 10Gi ▏                       0%
  idle      5h1m of 10h     ██████████             50%
  would evict 4 entries, 113.6Ki; held: 1 in use, 0 kept, 0 recent
`);
  });

  it('shows damage, leftovers and what it does not know', async () => {
    const { stdout } = await damaged.run('plan', '-f', damaged.policy());
    expect(steady(stdout)).toBe(`rootfs  /allowed/home/cache/rootfs
  entries   4 of 4  ████████████████████  100%
  bytes     101.8Ki
  in all    as the filesystem counts
  would evict 0 entries, 0; held: 1 in use, 0 kept, 1 recent
  damaged 732dd5656041: MetadataMalformed: ${rootfsKeys['golang:1.26']}.meta.json: it is not a JSON object
  damaged 939025ad9145: MetadataNamesAnotherKey: ${rootfsKeys['busybox:1.37']}.meta.json: it names the key "../../../victim"
  damaged linked-entry: NotADirectory: linked-entry is a symbolic link
  damaged neg: MetadataValueInvalid: neg.meta.json: "size_bytes" is -5
  4 leftovers: 1 Staging, 1 Temp, 1 Orphan, 1 Ghost
  not recognised, never touched: notes.txt, unrelated-folder
`);
  });

  it('is what prune prints as JSON where it may evict nothing', async () => {
    const plan = JSON.parse((await machine.run('plan', '-f', both, '-o', 'json')).stdout) as { caches: object[] };
    const pruned = JSON.parse((await machine.run('prune', '--dry-run', '-f', both, '-o', 'json')).stdout) as { caches: object[] };
    expect(pruned.caches).toMatchObject(plan.caches);
    const first = { key: rootfsKeys['postgres:17'], sizeBytes: 20_071, reason: 'MaxEntries' };
    expect(plan.caches[0]).toMatchObject({ usage: '200%', evicted: [], wouldEvict: [first, {}, {}, {}] });
  });
});

describe('explain', () => {
  it('shows only what would go where that is asked for, in JSON too', async () => {
    const { stdout } = await machine.run('explain', '-f', both, '--verdict', 'evict');
    expect(stdout).toMatch(/ evict /);
    expect(stdout).not.toMatch(/ keep /);
    const { caches } = JSON.parse((await machine.run('explain', '-f', both, '--verdict', 'keep', '-o', 'json')).stdout) as { caches: { entries: { verdict: string }[] }[] };
    expect(new Set(caches.flatMap(({ entries }) => entries.map(({ verdict }) => verdict)))).toEqual(new Set(['keep']));
    expect(await machine.run('explain', '-f', both, '--verdict', 'gone')).toMatchObject({ code: 2, stderr: expect.stringContaining('evict, keep') });
  });

  it('shows the fate of every entry, least recently used first', async () => {
    const { stdout } = await machine.run('explain', '-f', both);
    expect(steady(stdout)).toBe(`rootfs  /allowed/home/cache/rootfs
KEY            DESCRIPTION                          SIZE     USED       VERDICT   REASON
2fd48ba4ed89   docker.io/library/redis:8            13.7Ki   5h1m ago   keep      InUse: box box-1
0732d331fa4a   docker.io/library/postgres:17        19.6Ki   5h1m ago   evict     MaxEntries: 7th of 8 by last use, 4 allowed
109dd4191dcd   docker.io/library/python:3.14-slim   25.5Ki   5h1m ago   evict     MaxEntries: 6th of 8 by last use, 4 allowed
c8740c8fc3a8   docker.io/library/node:24-slim       31.3Ki   5h1m ago   evict     MaxEntries: 5th of 8 by last use, 4 allowed
732dd5656041   docker.io/library/golang:1.26        37.2Ki   5h1m ago   evict     MaxEntries: 4th of 8 by last use, 4 allowed
939025ad9145   docker.io/library/busybox:1.37       43Ki     5h1m ago   keep      WithinLimits: 3rd of 8 by last use
4c1579b8f3a7   docker.io/library/alpine:3.22        48.9Ki   5h1m ago   keep      WithinLimits: 2nd of 8 by last use
a65f3769f48c   docker.io/library/nginx:1.27         7.9Ki    5h1m ago   keep      WithinLimits: 1st of 8 by last use
`);
  });

  it('shows whole keys where asked', async () => {
    const { stdout } = await machine.run('explain', '-f', both, '-o', 'wide');
    for (const key of Object.values(rootfsKeys)) expect(stdout).toContain(`${key}   docker.io/`);
  });

  it('shows what is no entry, and why', async () => {
    const { stdout } = await damaged.run('explain', '-f', damaged.policy());
    const lines = steady(stdout).split('\n').map((line) => line.replaceAll(/ {2,}/g, '  '));
    expect(lines).toContain(`4c1579b8f3a7  docker.io/library/alpine:3.22  48.9Ki  ahead  keep  Recent: last use lies in the future, read as now, protected for 60s`);
    expect(lines).toContain('linked-entry  -  -  -  damaged  NotADirectory: linked-entry is a symbolic link');
    expect(lines).toContain('.staging-Ab12Cd  -  -  -  leftover  Staging: too young to be sure that it is one');
    expect(lines).toContain('notes.txt  -  -  -  unknown  not recognised, never touched');
  });

  it('gives scripts every verdict with its reason', async () => {
    const { caches } = JSON.parse((await machine.run('explain', '-f', both, '-o', 'json')).stdout) as { caches: [{ entries: { lastAccessed: string }[] }] };
    expect(caches[0].entries).toHaveLength(8);
    expect(caches[0].entries[0]).toMatchObject({
      key: rootfsKeys['redis:8'], description: 'docker.io/library/redis:8', sizeBytes: 14_071, clockAhead: false,
      verdict: 'keep', reason: 'InUse', detail: 'box box-1',
    });
    expect(caches[0].entries[0]?.lastAccessed).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/);
  });
});

describe('stats', () => {
  it('shows the figures of each cache', async () => {
    const layers = machine.policy({ store: 'Layers', limits: '{maxIdle: 1d}', file: 'layers.yaml', name: 'layers' });
    const { stdout } = await machine.run('stats', '-f', both, '-f', layers);
    // What a directory itself takes differs between filesystems.
    expect(steady(stdout).replaceAll(/ {3,}/g, ' | ').replaceAll(/(?<=227\.1Ki \| |98Ki \| )[\d.]+Ki/g, 'more')).toBe(`CACHE | ENTRIES | SIZE | IN ALL | USAGE | HELD | DAMAGED | LEAVING | LEFTOVERS | ROOT
a3s-box/rootfs | 8 | 227.1Ki | more | 200% | 1 | 0 | 0 | 0 | /allowed/home/cache/rootfs
layers/layers | 5 | 98Ki | more | - | 0 | 0 | 0 | 0 | /allowed/home/cache/layers
`);
  });

  it('gives scripts the filesystem, too', async () => {
    const { caches } = JSON.parse((await machine.run('stats', '-f', both, '-o', 'json')).stdout) as { caches: [Record<string, unknown>] };
    const filesystem = { capacityBytes: expect.any(Number) as number, availableBytes: expect.any(Number) as number };
    expect(caches[0]).toMatchObject({ stats: { entryCount: 8, totalBytes: 232_568 }, filesystem });
  });

  it('tells what failed, and ends with status 1', async () => {
    using other = new Machine();
    const marker = join(other.home(), 'boxes/box-1/.rootfs-cache-key');
    rmSync(marker);
    writeFileSync(marker, 'no key');
    const { code, stderr, stdout } = await other.run('stats', '-f', other.policy());
    expect(code).toBe(1);
    expect(stderr).toMatch(/^rootfs: the marker of box box-1 is no key: /);
    expect(stdout).toMatch(/rootfs +8 +227\.1Ki/);
  });
});

describe('none of them touches anything', () => {
  it('whatever they find', async () => {
    for (const on of [machine, damaged]) {
      const before = on.listing();
      for (const command of ['plan', 'explain', 'stats']) expect((await on.run(command, '-f', on.policy())).code).toBe(0);
      expect(on.listing()).toEqual(before);
    }
    expect(home).toContain(machine.allowedRoot);
  });
});
