import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../src/kube/objects.ts';
import { stderrLog } from '../cluster/log.ts';
import type { ProcessCluster } from '../cluster/process-cluster.ts';
import { startProcessCluster } from '../cluster/process-cluster.ts';
import { unpackHome } from '../fixtures/homes.ts';
import { aPolicy, eventually, namespace, root } from './cluster.ts';

const policyName = 'faults-removal';
const withinMs = 60_000;
const labels = { 'faults.example/removal': 'yes' };
/** What may not linger; the kinds of the operator go with its CRDs. */
const kinds = ['cachepolicies', 'nodecaches', 'configmaps', 'daemonsets'];

describe('a removal leaves nothing that is Terminating and deletes no cached byte, whatever goes first', () => {
  let cluster: ProcessCluster;
  let cached: string[];

  beforeAll(async () => {
    cluster = await startProcessCluster({ nodes: 1, labels, prepareHostRoot: (hostRoot) => void unpackHome(join(hostRoot, 'var/lib/a3s-box')), log: stderrLog });
  });

  afterAll(() => cluster.stop());

  // Until then kube-apiserver up to 1.36 finds no parameters for admission policies that were deleted and made again (kubernetes/kubernetes#130887).
  afterEach(async () => {
    await cluster.controlPlane.stopComponent('kube-apiserver');
    await cluster.controlPlane.startComponent('kube-apiserver');
  });

  const kubectl = (args: readonly string[], input?: string) => cluster.controlPlane.kubectl(args, input === undefined ? {} : { input });
  const remove = (...args: string[]) => kubectl(['delete', ...args, '--ignore-not-found', '--wait=false']);
  const theRest = () => remove('-k', `${root}deploy`);

  async function install(): Promise<void> {
    const policy = aPolicy({ name: policyName, nodeSelector: labels, limits: { maxEntries: 8 } } as never);
    // Until the namespace and the CRDs of the removal before are gone, something of it is refused.
    await eventually(() => kubectl(['apply', '-k', `${root}deploy`]), withinMs);
    await eventually(() => kubectl(['apply', '-f', '-'], JSON.stringify(policy)), withinMs);
    await kubectl(['wait', '--for=condition=Ready', `cachepolicy/${policyName}`, '--timeout=90s']);
    cached = bytesBelow(join((cluster.nodes[0] as { hostRoot: string }).hostRoot, 'var/lib/a3s-box'));
    expect(cached.length).toBeGreaterThan(50);
  }

  async function expectNothingTerminating(): Promise<void> {
    await eventually(async () => expect((await all()).filter(({ metadata }) => metadata.deletionTimestamp !== undefined).map(nameOf)).toEqual([]), withinMs);
  }

  /** Admission policies of ours that lack their parameters must not stand in anybody's way. */
  async function expectOthersUnhindered(): Promise<void> {
    const labels = { app: 'other' };
    const template = { metadata: { labels }, spec: { containers: [{ name: 'other', image: 'other' }] } };
    const daemonSet = { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'other', namespace: 'default' }, spec: { selector: { matchLabels: labels }, template } };
    await kubectl(['apply', '--dry-run=server', '-f', '-'], JSON.stringify(daemonSet));
  }

  async function expectNothingLeft(): Promise<void> {
    await eventually(async () => {
      expect((await all()).map(nameOf)).toEqual([]);
      expect(await kubectl(['get', 'namespace', namespace, '--ignore-not-found', '-o', 'name'])).toBe('');
    }, withinMs);
    expect(bytesBelow(join((cluster.nodes[0] as { hostRoot: string }).hostRoot, 'var/lib/a3s-box'))).toEqual(cached);
  }

  /** Every object of these kinds that is the operator's. */
  async function all(): Promise<KubeObject[]> {
    const lists = await Promise.all(kinds.map(async (kind) => {
      try {
        return (JSON.parse(await kubectl(['get', kind, '-A', '-o', 'json'])) as { items: KubeObject[] }).items;
      } catch (error) {
        if (/the server doesn't have a resource type|could not find the requested resource/.test((error as Error).message)) return [];
        throw error;
      }
    }));
    return lists.flat().filter(({ metadata }) => metadata.namespace === undefined || metadata.namespace === namespace);
  }

  it.each<[string, () => Promise<unknown>]>([
    ['the policy', () => remove('cachepolicy', policyName)],
    ['the policy, in the foreground, after its allowed roots', async () => {
      await remove('configmap', 'cachepolicy-allowed-roots', '-n', namespace);
      await remove('cachepolicy', policyName, '--cascade=foreground');
    }],
    ['the controller', async () => {
      await remove('deployment', 'cachepolicy-controller', '-n', namespace);
      await remove('cachepolicy', policyName);
    }],
    ['the namespace', () => remove('namespace', namespace)],
    ['the CRDs', () => remove('-k', `${root}crds`)],
    ['everything at once', async () => undefined],
  ])('%s', { timeout: 300_000 }, async (_, first) => {
    await install();
    await first();
    await expectNothingTerminating();
    await expectOthersUnhindered();
    await theRest();
    await expectNothingLeft();
  });
});

function nameOf({ kind, metadata }: KubeObject): string {
  return `${kind} ${metadata.name}`;
}

/** Every file and its size. */
function bytesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' }).map((name) => {
    const stat = lstatSync(join(dir, name));
    return `${name} ${stat.isFile() ? stat.size : 'folder'}`;
  }).filter((line) => !line.includes('.cachepolicy')).toSorted();
}
