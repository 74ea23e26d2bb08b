import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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

describe('a removal leaves nothing that is Terminating and deletes no cached byte', () => {
  let cluster: ProcessCluster;

  beforeAll(async () => {
    cluster = await startProcessCluster({ nodes: 1, labels, prepareHostRoot: (hostRoot) => void unpackHome(join(hostRoot, 'var/lib/a3s-box')), log: stderrLog });
  });

  afterAll(() => cluster.stop());

  const kubectl = (args: readonly string[], input?: string) => cluster.controlPlane.kubectl(args, input === undefined ? {} : { input });
  const remove = (...args: string[]) => kubectl(['delete', ...args, '--ignore-not-found', '--wait=false']);
  const cached = () => bytesBelow(join((cluster.nodes[0] as { hostRoot: string }).hostRoot, 'var/lib/a3s-box'));

  async function install(): Promise<void> {
    const policy = aPolicy({ name: policyName, nodeSelector: labels, limits: { maxEntries: 8 } } as never);
    await eventually(() => kubectl(['apply', '-k', `${root}deploy`]), withinMs);
    await eventually(() => kubectl(['apply', '-f', '-'], JSON.stringify(policy)), withinMs);
    await kubectl(['wait', '--for=condition=Ready', `cachepolicy/${policyName}`, '--timeout=90s']);
  }

  /** Every object that the policy or the operator made, with a star where it is Terminating. */
  async function present(): Promise<string[]> {
    const lists = await Promise.all(kinds.map(async (kind) => {
      try {
        return (JSON.parse(await kubectl(['get', kind, '-A', '-o', 'json'])) as { items: KubeObject[] }).items;
      } catch (error) {
        if (/the server doesn't have a resource type|could not find the requested resource/.test((error as Error).message)) return [];
        throw error;
      }
    }));
    return lists.flat()
      .filter(({ metadata }) => metadata.name.includes(policyName) || metadata.deletionTimestamp !== undefined)
      .map(({ kind, metadata }) => `${kind} ${metadata.name}${metadata.deletionTimestamp === undefined ? '' : '*'}`);
  }

  /** Admission policies of ours that lack their parameters must not stand in anybody's way. */
  async function expectOthersUnhindered(): Promise<void> {
    const own = { app: 'other' };
    const template = { metadata: { labels: own }, spec: { containers: [{ name: 'other', image: 'other' }] } };
    const daemonSet = { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'other', namespace: 'default' }, spec: { selector: { matchLabels: own }, template } };
    await kubectl(['apply', '--dry-run=server', '-f', '-'], JSON.stringify(daemonSet));
  }

  const orders: [order: string, removal: () => Promise<unknown>, left?: readonly string[]][] = [
    // Comes first: the garbage collector learns of a new kind only half a minute after its definition.
    ['with the namespace first', () => kubectl(['delete', 'namespace', namespace, '--timeout=60s']), [`CachePolicy ${policyName}`, `NodeCache ${policyName}.node-1`]],
    // Everything after it is installed again on the same API server.
    ['of everything at once', async () => {
      await remove('-k', `${root}deploy`);
      await eventually(async () => expect(await kubectl(['get', 'namespace', namespace, '--ignore-not-found', '-o', 'name'])).toBe(''), withinMs);
    }],
    ['with the policy first', () => remove('cachepolicy', policyName)],
    ['with the allowed roots first, and then the policy in the foreground', async () => {
      await remove('configmap', 'cachepolicy-allowed-roots', '-n', namespace);
      await remove('cachepolicy', policyName, '--cascade=foreground');
    }],
    ['with the controller first', async () => {
      await remove('deployment', 'cachepolicy-controller', '-n', namespace);
      await remove('cachepolicy', policyName, '--cascade=foreground');
    }],
    ['with the CRDs first', () => remove('-k', `${root}crds`)],
  ];

  it.each<(typeof orders)[number]>(orders)('%s', { timeout: 240_000 }, async (_, removal, left = []) => {
    await install();
    const before = cached();
    expect(before.length).toBeGreaterThan(50);
    await removal();
    await eventually(async () => expect(await present()).toEqual(left), withinMs);
    await expectOthersUnhindered();
    expect(cached()).toEqual(before);
  });
});

/** Every file and its size, but for the engine's own. */
function bytesBelow(dir: string): string[] {
  const names = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) => !name.includes('.cachepolicy'));
  return names.map((name) => `${name} ${lstatSync(join(dir, name)).isFile() ? lstatSync(join(dir, name)).size : 'no file'}`).toSorted();
}
