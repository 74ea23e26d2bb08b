import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CachePolicy } from '../../src/api/cachepolicy.gen.ts';
import type { NodeCache } from '../../src/api/nodecache.gen.ts';
import { localOperatorImage, operatorImage } from '../cluster/image.ts';
import { stderrLog } from '../cluster/log.ts';
import type { ProcessNode } from '../cluster/process-node.ts';
import { startProcessNode } from '../cluster/process-node.ts';
import { images, rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import type { Image } from '../fixtures/homes.ts';
import { aPolicy, controlPlane, eventually, installOperator, kubectl } from './cluster.ts';

const home = '/var/lib/a3s-box/home';
/** From a change to the disk and the policy's status. */
const withinMs = 15_000;
const labels = { 'a3s-box.io/runtime': 'true' };

describe('the operator on nodes of local processes', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-operator-'));
  const started: ProcessNode[] = [];

  beforeAll(async () => {
    await installOperator();
    for (const name of ['process-1', 'process-2']) await start(name);
  });

  afterAll(async () => {
    await kubectl(['delete', 'cachepolicies', '--all']);
    for (const node of started) await node.stop();
    rmSync(scratch, { recursive: true, force: true });
  });

  async function start(name: string): Promise<ProcessNode> {
    const { server, caFile, adminToken } = controlPlane();
    const hostRoot = join(scratch, name, 'root');
    unpackHome(join(hostRoot, 'var/lib/a3s-box'));
    const images = { [operatorImage]: localOperatorImage };
    const node = await startProcessNode({ name, controlPlane: { server, caFile, adminToken }, labels, hostRoot, dir: join(scratch, name, 'pods'), images, log: stderrLog });
    started.push(node);
    return node;
  }

  const nodes = () => started as [ProcessNode, ProcessNode];
  const apply = (policy: object) => kubectl(['apply', '-f', '-'], JSON.stringify(policy));
  const box = (spec: Parameters<typeof aPolicy>[0] = {}) => apply(aPolicy({ nodeSelector: labels, ...spec } as never));
  const thePolicy = async (name = 'a3s-box') => JSON.parse(await kubectl(['get', 'cachepolicy', name, '-o', 'json'])) as CachePolicy;
  const theReport = async (node: ProcessNode, name = 'a3s-box') => JSON.parse(await kubectl(['get', 'nodecache', `${name}.${node.name}`, '-o', 'json'])) as NodeCache;
  const agentsOf = (name: string) => kubectl(['-n', 'cachepolicy-system', 'get', 'daemonset', `cachepolicy-${name}`, '--ignore-not-found', '-o', 'json']);
  const rootOf = (node: ProcessNode) => join(node.hostRoot, home, 'cache/rootfs');
  const condition = ({ status }: CachePolicy, type: string) => status?.conditions?.find((each) => each.type === type);

  function served(node: ProcessNode): Image[] {
    const names = new Set(readdirSync(rootOf(node)));
    return images.filter((image) => names.has(rootfsKeys[image]) && names.has(`${rootfsKeys[image]}.meta.json`));
  }

  function sums(...of: ProcessNode[]): { entryCount: number; totalBytes: number } {
    const texts = of.flatMap((node) => readdirSync(rootOf(node)).filter((name) => name.endsWith('.meta.json')).map((name) => readFileSync(join(rootOf(node), name), 'utf8')));
    return { entryCount: texts.length, totalBytes: texts.reduce((sum, text) => sum + (JSON.parse(text) as { size_bytes: number }).size_bytes, 0) };
  }

  it('has a value in every column and every condition from the first reconcile on', async () => {
    await box({ limits: { maxEntries: 100 } });
    await eventually(async () => {
      const types = (await thePolicy()).status?.conditions?.map((each) => each.type) ?? [];
      expect(types).toEqual(expect.arrayContaining(['Accepted', 'Programmed', 'Ready']));
    });
    const row = (await kubectl(['get', 'cachepolicies', 'a3s-box', '--no-headers'])).trim();
    expect(row).toMatch(/^a3s-box +\d\/[\d-] +(\d+|-) +\S+ +\S+ +\d+ +(True|False) +\S+$/);
  });

  it('reports the sums of the metadata, and becomes Ready', async () => {
    await kubectl(['wait', '--for=condition=Ready', 'cachepolicy/a3s-box', '--timeout=90s']);
    expect((await thePolicy()).status).toMatchObject({ stats: sums(...nodes()), reporting: '2/2', nodes: { failing: 0, overLimit: 0, stale: 0 } });
    for (const node of nodes()) {
      expect((await theReport(node)).status).toMatchObject({ stats: sums(node), caches: [{ protected: { inUse: { entries: 1, bytes: 14_071 } } }] });
    }
  });

  it('evicts the least recently used and nothing in use once a lower limit is applied', async () => {
    await box({ limits: { maxEntries: 4 } });
    await eventually(async () => {
      for (const node of nodes()) expect(served(node)).toEqual(['redis:8', 'busybox:1.37', 'alpine:3.22', 'nginx:1.27']);
      expect((await thePolicy()).status).toMatchObject({ stats: sums(...nodes()), evictedEntries: 8 });
    }, withinMs);
    await kubectl(['wait', '--for=condition=Ready', 'cachepolicy/a3s-box', '--timeout=30s']);
    expect((await thePolicy()).status?.lastEvictionTime).toBeDefined();
  });

  it('gives way to an older policy of the same directory, without agents, and takes over when that one goes', async () => {
    await apply(aPolicy({ name: 'newer', nodeSelector: labels, limits: { maxEntries: 1 } } as never));
    await eventually(async () => {
      expect(condition(await thePolicy('newer'), 'Accepted')).toMatchObject({ status: 'False', reason: 'Conflicted', message: expect.stringContaining('a3s-box') });
    });
    expect(await agentsOf('newer')).toBe('');
    expect(served(nodes()[0])).toHaveLength(4);
    await kubectl(['delete', 'cachepolicy', 'a3s-box']);
    await eventually(async () => {
      expect(condition(await thePolicy('newer'), 'Accepted')).toMatchObject({ status: 'True' });
      expect(served(nodes()[0])).toEqual(['redis:8']);
    });
  });

  it('keeps the agents of a policy that is accepted no more on their nodes: they report, and evict nothing', async () => {
    await apply(aPolicy({ name: 'aside', nodeSelector: labels, home: '/var/lib/a3s-box/aside' } as never));
    await eventually(async () => expect((await theReport(nodes()[0], 'aside')).status).toMatchObject({ observedGeneration: 1 }));
    await apply(aPolicy({ name: 'aside', limits: { maxEntries: 0 } }));
    await eventually(async () => {
      expect(condition(await thePolicy('aside'), 'Accepted')).toMatchObject({ status: 'False', reason: 'Conflicted' });
      expect((await theReport(nodes()[0], 'aside')).status).toMatchObject({ observedGeneration: 2, caches: [{ stats: { entryCount: 1 } }] });
    });
    expect(served(nodes()[0])).toEqual(['redis:8']);
    expect(JSON.parse(await agentsOf('aside')).spec.template.spec.nodeSelector).toMatchObject(labels);
    await kubectl(['delete', 'cachepolicy', 'aside', 'newer']);
  });

  it('says in the status that a directory is missing, and takes it up when it appears', async () => {
    const [node] = nodes();
    await box({ limits: { maxEntries: 100 } });
    await kubectl(['wait', '--for=condition=Ready', 'cachepolicy/a3s-box', '--timeout=90s']);
    renameSync(rootOf(node), `${rootOf(node)}.away`);
    await eventually(async () => {
      expect((await theReport(node)).status?.caches?.[0]?.problem).toMatchObject({ reason: 'RootMissing' });
      expect(condition(await thePolicy(), 'Degraded')).toMatchObject({ status: 'True', reason: 'NodesFailing' });
    }, withinMs);
    renameSync(`${rootOf(node)}.away`, rootOf(node));
    await eventually(async () => expect(condition(await thePolicy(), 'Ready')).toMatchObject({ status: 'True' }));
  });

  it('keeps the count of evictions when a node departs', async () => {
    const gone = await start('process-3');
    await box({ limits: { maxEntries: 6 } });
    await eventually(async () => expect((await thePolicy()).status).toMatchObject({ reporting: '3/3', evictedEntries: 2 }), 60_000);
    await gone.stop();
    started.pop();
    await eventually(async () => {
      expect(await kubectl(['get', 'nodecaches', '-o', 'name'])).not.toContain('process-3');
      expect((await thePolicy()).status).toMatchObject({ reporting: '2/2', evictedEntries: 2 });
    }, 120_000);
  }, 200_000);

  it('deletes no cached byte with the policy, and leaves nothing else of it', async () => {
    const before = nodes().map((node) => [served(node), sums(node)]);
    await kubectl(['delete', 'cachepolicy', 'a3s-box']);
    await eventually(async () => {
      expect(await kubectl(['get', 'daemonsets,configmaps,pods', '-n', 'cachepolicy-system', '-l', 'cache.a3s.dev/policy=a3s-box', '-o', 'name'])).toBe('');
      expect(await kubectl(['get', 'nodecaches', '-l', 'cache.a3s.dev/policy=a3s-box', '-o', 'name'])).toBe('');
    }, 60_000);
    expect(nodes().map((node) => [served(node), sums(node)])).toEqual(before);
  });
});
