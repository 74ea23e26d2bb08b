import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CachePolicy } from '../../src/api/cachepolicy.gen.ts';
import type { NodeCache } from '../../src/api/nodecache.gen.ts';
import { eventually } from '../cluster/eventually.ts';
import { canRun } from '../cluster/real-nodes.ts';
import { images, rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import type { Image } from '../fixtures/homes.ts';
import type { E2eCluster, E2eNode } from './cluster.ts';
import { openCluster, runtimeLabel } from './cluster.ts';

const root = new URL('../..', import.meta.url).pathname;
const home = '/var/lib/a3s-box/home';
const rootfs = `${home}/cache/rootfs`;
const namespace = 'cachepolicy-system';
/** From a `kubectl apply`, or a change on a node, to the disk and the policy's status. */
const withinMs = 15_000;

const reason = process.env['E2E_KUBECONFIG'] === undefined ? canRun() : undefined;
if (reason !== undefined) console.warn(`the operator on real nodes is not tested: ${reason}`);

describe.skipIf(reason !== undefined && process.env['REQUIRE'] !== 'all')('the operator on two real nodes', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-e2e-'));
  let cluster: E2eCluster;
  let [first, second]: E2eNode[] = [];
  /** What each node's home holds besides what the test evicts, least recently used first. */
  const present = new Map<string, Image[]>();

  const kubectl = (...args: string[]) => cluster.kubectl(args);
  const apply = (spec: Parameters<typeof policy>[0]) => cluster.kubectl(['apply', '-f', '-'], JSON.stringify(policy(spec)));
  const thePolicy = async () => JSON.parse(await kubectl('get', 'cachepolicy', 'a3s-box', '-o', 'json')) as CachePolicy;
  const theReport = async (node: E2eNode) => JSON.parse(await kubectl('get', 'nodecache', `a3s-box.${node.name}`, '-o', 'json')) as NodeCache;

  beforeAll(async () => {
    cluster = await openCluster();
    [first, second] = [...cluster.nodes];
    for (const node of nodes()) await fill(node);
    await kubectl('apply', '-k', `${root}deploy`);
    await kubectl('rollout', 'status', 'deployment/cachepolicy-controller', '-n', namespace, '--timeout=180s');
  });

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    rmSync(scratch, { recursive: true, force: true });
  });

  function nodes(): [E2eNode, E2eNode] {
    if (first === undefined || second === undefined) throw new Error('two nodes are needed');
    return [first, second];
  }

  /** The whole fixture on the first node, six of its entries on the second; each entry last used more than an hour ago. */
  async function fill(node: E2eNode): Promise<void> {
    const left: Image[] = node === first ? [...images] : images.filter((image) => image !== 'python:3.14-slim' && image !== 'alpine:3.22');
    const dir = mkdtempSync(join(scratch, 'home-'));
    unpackHome(dir, { ageSeconds: 3600 });
    for (const image of images.filter((each) => !left.includes(each))) {
      const key = rootfsKeys[image];
      for (const name of [key, `${key}.meta.json`]) rmSync(join(dir, 'home/cache/rootfs', name), { recursive: true });
    }
    const archive = join(dir, 'home.tar.gz');
    execFileSync('tar', ['-czpf', archive, '-C', dir, 'home']);
    await node.unpack(archive, '/var/lib/a3s-box/fill');
    // At once, and what is there only looks newer: an entry written over while the agent works would be evicted twice.
    await node.sh(`cd /var/lib/a3s-box
      [ -e home ] || mv fill/home home
      cd fill/home/cache/rootfs 2>/dev/null || { rm -r fill; exit; }
      for file in *.meta.json; do if [ -e ${rootfs}/"$file" ]; then mv -f "$file" ${rootfs}/; fi; done
      for entry in *; do if [ ! -e ${rootfs}/"$entry" ]; then mv "$entry" ${rootfs}/; fi; done
      rm -r /var/lib/a3s-box/fill`);
    present.set(node.name, left);
  }

  /** Images whose entry is served: directory and metadata both there. Least recently used first. */
  async function served(node: E2eNode): Promise<Image[]> {
    const names = new Set((await node.sh(`ls -A ${rootfs}`)).split('\n'));
    return images.filter((image) => names.has(rootfsKeys[image]) && names.has(`${rootfsKeys[image]}.meta.json`));
  }

  /** Entries and bytes as the metadata on the nodes says. */
  async function sums(...of: E2eNode[]): Promise<{ entryCount: number; totalBytes: number }> {
    const texts = await Promise.all(of.map((node) => node.sh(`cat ${rootfs}/*.meta.json`)));
    const sizes = [...texts.join('').matchAll(/"size_bytes": (\d+)/g)].map((match) => Number(match[1]));
    return { entryCount: sizes.length, totalBytes: sizes.reduce((sum, size) => sum + size, 0) };
  }

  async function podsOfAgents(): Promise<string> {
    const path = 'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount}{"\\n"}{end}';
    return (await kubectl('get', 'pods', '-n', namespace, '-l', 'cache.a3s.dev/policy=a3s-box', '-o', path)).split('\n').sort().join('\n');
  }

  async function everyNodeServes(expected: (node: E2eNode) => Image[]): Promise<void> {
    await within(async () => {
      for (const node of nodes()) expect(await served(node), node.name).toEqual(expected(node));
      expect((await thePolicy()).status?.stats).toEqual(await sums(...nodes()));
      for (const node of nodes()) expect((await theReport(node)).status?.stats).toEqual(await sums(node));
    });
  }

  /** Of what the node had, redis:8 (in use) and the most recently used, `count` in all. */
  function newest(node: E2eNode, count: number): Image[] {
    const all = present.get(node.name) ?? [];
    return all.filter((image, index) => image === 'redis:8' || index > all.length - count);
  }

  it('reports what is there, and is Ready', async () => {
    await apply({ limits: { maxEntries: 100 } });
    await kubectl('wait', '--for=condition=Ready', 'cachepolicy/a3s-box', '--timeout=120s');
    const { status } = await thePolicy();
    expect(status).toMatchObject({ stats: await sums(...nodes()), reporting: '2/2', evictedEntries: 0 });
    expect(await kubectl('get', 'cachepolicies')).toMatch(/^NAME +NODES +ENTRIES +SIZE +USAGE +EVICTED +READY +AGE\na3s-box +2\/2 +14 +[\d.]+Ki +8% +0 +True /);
  });

  it('evicts nothing in a dry run, and shows what would go', async () => {
    await apply({ mode: 'DryRun', limits: { maxEntries: 4 } });
    await within(async () => expect((await thePolicy()).status?.caches?.[0]).toMatchObject({ wouldEvictEntries: 6 }));
    for (const node of nodes()) expect(await served(node)).toEqual(present.get(node.name));
    expect((await thePolicy()).status?.evictedEntries).toBe(0);
  });

  it('evicts exactly the least recently used, never one in use, on a lower limit and without restarting a pod', async () => {
    const before = await podsOfAgents();
    await apply({ limits: { maxEntries: 4 } });
    await everyNodeServes((node) => newest(node, 4));
    expect((await thePolicy()).status).toMatchObject({ evictedEntries: 6 });
    // alpine and nginx are the largest and the smallest: their sum decides how many go by bytes.
    await apply({ limits: { maxBytes: 80_000 } });
    await everyNodeServes((node) => (node === first ? ['redis:8', 'alpine:3.22', 'nginx:1.27'] : ['redis:8', 'busybox:1.37', 'nginx:1.27']));
    expect(await podsOfAgents()).toBe(before);
  });

  it('prunes a home that is filled again with entries of old', async () => {
    await apply({ limits: { maxEntries: 3 } });
    const before = (await thePolicy()).status?.evictedEntries ?? 0;
    await Promise.all(nodes().map(fill));
    // Both nodes served just these before: only the count tells that what was filled in has gone again.
    await within(async () => expect((await thePolicy()).status?.evictedEntries).toBe(before + 8));
    await everyNodeServes((node) => newest(node, 3));
    await kubectl('wait', '--for=condition=Ready', 'cachepolicy/a3s-box', '--timeout=30s');
  });

  it('says that a directory is missing, and takes it up when it appears', async () => {
    const [node] = nodes();
    await node.sh(`mv ${rootfs} ${rootfs}.away`);
    await problemOn(node, 'RootMissing');
    expect(condition(await thePolicy(), 'Degraded')).toMatchObject({ status: 'True', message: expect.stringContaining(`${node.name}/rootfs: ${rootfs} does not exist`) });
    await node.sh(`mv ${rootfs}.away ${rootfs}`);
    await recovered();
  });

  it.each([['the directory', rootfs], ['a parent of it', home]])('refuses a symbolic link in place of %s, says so, and leaves what it points to whole', async (_, path) => {
    const [node] = nodes();
    const canary = '/var/lib/a3s-box/canary';
    await node.sh(`cp -a ${path} ${canary}; mv ${path} ${path}.away; ln -s ${canary} ${path}`);
    const before = await node.sh(`cd ${canary} && find . | sort`);
    await apply({ limits: { maxEntries: 0 } });
    await problemOn(node, 'RootSymlink');
    await within(async () => expect(await served(nodes()[1])).toEqual(['redis:8']));
    expect(await node.sh(`cd ${canary} && find . | sort`)).toBe(before);
    await apply({ limits: { maxEntries: 3 } });
    await node.sh(`rm ${path}; mv ${path}.away ${path}; rm -r ${canary}`);
    await fill(nodes()[1]);
    await recovered();
  });

  it('starts and works on a node under disk pressure', async (context) => {
    const [node] = nodes();
    if (node.setDiskPressure === undefined) return context.skip('the nodes are not ours');
    await node.setDiskPressure(true);
    await kubectl('delete', 'pod', '-n', namespace, '-l', 'cache.a3s.dev/policy=a3s-box', '--field-selector', `spec.nodeName=${node.name}`);
    await apply({ limits: { maxEntries: 2 } });
    await within(async () => expect(await served(node)).toEqual(['redis:8', 'nginx:1.27']), 90_000);
    await node.setDiskPressure(false);
  });

  it('reads a damaged home as what it is', async () => {
    const [node] = nodes();
    await apply({ mode: 'DryRun', limits: { maxEntries: 100 } });
    const dir = mkdtempSync(join(scratch, 'damaged-'));
    unpackHome(dir, { damaged: true });
    execFileSync('tar', ['-czpf', join(dir, 'home.tar.gz'), '-C', dir, 'home']);
    await node.sh(`mv ${rootfs} ${rootfs}.away`);
    await node.unpack(join(dir, 'home.tar.gz'), '/var/lib/a3s-box');
    // Entries: redis, node, alpine, nginx. Damaged: golang, busybox, linked-entry, neg. Leftovers: staging, temp, postgres (orphan), python (ghost).
    await within(async () => expect((await theReport(node)).status?.caches?.[0]).toMatchObject({
      stats: { entryCount: 4 }, damaged: 4, leftovers: 4, unrecognised: 2, clockAhead: 1,
    }));
    await node.sh(`rm -r ${rootfs}; mv ${rootfs}.away ${rootfs}`);
  });

  it('prunes a directory of files that belong to others, never one that a process has open', async () => {
    const [node] = nodes();
    const models = '/var/lib/a3s-box/apart/models';
    await node.sh(`mkdir -p ${models}; cd ${models}
      for model in llama mistral phi; do mkdir -p $model; echo weights >$model/weights; touch -d '3 hours ago' $model/weights $model; done
      chown -R 4242:4343 .
      setsid sh -c 'exec 3<llama/weights; exec sleep 900' >/dev/null 2>&1 </dev/null & echo $! >../user`);
    const caches = [{ name: 'models', directory: { path: models }, limits: { maxEntries: 0 }, protect: { minIdle: '0s' } }];
    const spec = { nodeSelector: { [runtimeLabel]: 'true', 'kubernetes.io/hostname': node.name }, caches };
    await cluster.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', metadata: { name: 'models' }, spec }));
    try {
      await within(async () => {
        expect(await node.sh(`ls ${models}`)).toBe('llama\n');
        const report = JSON.parse(await kubectl('get', 'nodecache', `models.${node.name}`, '-o', 'json')) as NodeCache;
        // That it is not failing says that it may ask about files of other owners.
        expect(report.status?.caches?.[0]).toMatchObject({ protected: { inUse: { entries: 1 } }, totals: { evictedEntries: 2 }, holdSources: expect.arrayContaining(['Lease']) });
        expect(report.status?.caches?.[0]?.problem).toBeUndefined();
      }, 120_000);
      await node.sh(`kill $(cat ${models}/../user); mkdir ${models}/gemma`);
      await within(async () => expect(await node.sh(`ls ${models}`)).toBe(''), 120_000);
    } finally {
      await kubectl('delete', 'cachepolicy', 'models');
      await node.sh(`kill $(cat ${models}/../user) 2>/dev/null || true`);
      await within(async () => expect(await kubectl('get', 'pod', '-n', namespace, '-l', 'cache.a3s.dev/policy=models', '-o', 'name')).toBe(''), 90_000);
      await node.sh('rm -r /var/lib/a3s-box/apart');
    }
  });

  it('leaves every cached byte when the policy is deleted, and nothing else', async () => {
    await apply({ limits: { maxEntries: 100 } });
    await Promise.all(nodes().map(fill));
    await within(async () => expect((await thePolicy()).status?.stats?.entryCount).toBe(14));
    const listing = (node: E2eNode) => node.sh(`cd ${home} && find . -path ./cache/rootfs/.cachepolicy -prune -o -print | sort`);
    const before = await Promise.all(nodes().map(listing));
    await kubectl('delete', 'cachepolicy', 'a3s-box');
    await within(async () => {
      for (const kind of ['daemonset', 'configmap', 'pod']) expect(await kubectl('get', kind, '-n', namespace, '-l', 'cache.a3s.dev/policy=a3s-box', '-o', 'name')).toBe('');
      expect(await kubectl('get', 'nodecaches', '-o', 'name')).toBe('');
    }, 90_000);
    expect(await Promise.all(nodes().map(listing))).toEqual(before);
  });

  async function problemOn(node: E2eNode, problem: string): Promise<void> {
    await within(async () => {
      expect((await theReport(node)).status?.caches?.[0]?.problem?.reason).toBe(problem);
      expect(condition(await thePolicy(), 'Ready')).toMatchObject({ status: 'False', reason: 'NodesFailing' });
    });
  }

  async function recovered(): Promise<void> {
    await within(async () => {
      const now = await thePolicy();
      expect(condition(now, 'Degraded')).toBeUndefined();
      expect(condition(now, 'Ready')).toMatchObject({ status: 'True' });
    }, 30_000);
  }
});

function policy({ limits, ...spec }: { limits?: object } & Record<string, unknown>): object {
  const caches = [{ name: 'rootfs', a3sBox: { home, store: 'Rootfs' }, limits }];
  return { apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', metadata: { name: 'a3s-box' }, spec: { nodeSelector: { [runtimeLabel]: 'true' }, caches, ...spec } };
}

function condition({ status }: CachePolicy, type: string) {
  return status?.conditions?.find((each) => each.type === type);
}

function within(attempt: () => Promise<void>, ms = withinMs): Promise<void> {
  return eventually(attempt, ms, 500);
}
