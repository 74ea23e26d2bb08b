import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { NodeCache } from '../../src/api/nodecache.gen.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { policyLabel } from '../../src/api/names.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { Reflector } from '../../src/kube/reflector.ts';
import { cachePolicies, nodeCaches, pods } from '../../src/kube/resource.ts';
import { Store } from '../../src/kube/store.ts';
import { Transport } from '../../src/kube/transport.ts';
import { version } from '../../src/version.ts';
import { silentLog } from '../../src/observe/log.ts';
import { localOperatorImage, operatorImage } from '../cluster/image.ts';
import { stderrLog } from '../cluster/log.ts';
import type { Pod } from '../cluster/pod.ts';
import type { ProcessCluster } from '../cluster/process-cluster.ts';
import { startProcessCluster } from '../cluster/process-cluster.ts';
import { bringBack, images, rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { aPolicy, eventually, namespace, root } from './cluster.ts';

const policyName = 'upgrade';
const rollout = ['rollout', 'status', 'deployment/cachepolicy-controller', '-n', namespace, '--timeout=120s'];
const nextVersion = '0.2.0';
const nextImage = operatorImage.replace(/:.*/, `:${nextVersion}`);
const withinMs = 120_000;

describe('an upgrade of the controller beside live agents', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-upgrade-'));
  const stopping = new AbortController();
  const watching: Promise<void>[] = [];
  const pod = new Store<Pod & KubeObject>({ log: silentLog });
  const policy = new Store<PolicyObject>({ log: silentLog });
  /** Every set of conditions that stood, as `Accepted True, …`; of others than True also why. */
  let stood: string[] = [];
  /** The fewest agents that were ready at any time. */
  let fewestReady = Infinity;
  let cluster: ProcessCluster;
  let client: KubeClient;

  beforeAll(async () => {
    const prepareHostRoot = (hostRoot: string) => void unpackHome(join(hostRoot, 'var/lib/a3s-box'));
    cluster = await startProcessCluster({ nodes: 2, prepareHostRoot, images: { [nextImage]: { ...localOperatorImage, files: { ...localOperatorImage.files, '/app': nextBuild() } } }, log: stderrLog });
    const { server, caFile, adminToken } = cluster.controlPlane;
    const credentials = { authorization: `Bearer ${adminToken}`, ca: readFileSync(caFile, 'utf8') };
    client = new KubeClient(new Transport({ server: new URL(server), namespace, credentials: async () => credentials }));
    await kubectl(['apply', '-k', `${root}deploy`]);
    await eventually(() => kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: policyName, limits: { maxEntries: 4 } }))), withinMs);
    await kubectl(['wait', '--for=condition=Ready', `cachepolicy/${policyName}`, '--timeout=90s']);
    await eventually(() => expect(served()).toEqual([4, 4]), withinMs);
    watching.push(
      new Reflector({ client, resource: pods, namespace, labelSelector: `${policyLabel}=${policyName}`, store: pod, log: silentLog }).run(stopping.signal),
      new Reflector({ client, resource: cachePolicies, store: policy, log: silentLog }).run(stopping.signal),
    );
    await Promise.all([pod.synced, policy.synced]);
    const note = ({ status }: PolicyObject) => void stood.push((status?.conditions ?? []).map(({ type, status: is, reason, message }) => (is === 'True' ? `${type} True` : `${type} ${is} ${reason} (${message})`)).join(', '));
    policy.subscribe({ added: note, updated: note });
    const count = () => void (fewestReady = Math.min(fewestReady, agents().filter(isReady).length));
    pod.subscribe({ updated: count, deleted: count });
  });

  // A second try begins where the first one ended.
  beforeEach(() => {
    stood = [];
    fewestReady = Infinity;
  });

  afterAll(async () => {
    stopping.abort();
    await Promise.all(watching);
    await cluster?.stop();
    rmSync(scratch, { recursive: true });
  });

  const kubectl = (args: readonly string[], input?: string) => cluster.controlPlane.kubectl(args, input === undefined ? {} : { input });
  const agents = () => [...pod.values()];
  const uids = () => agents().map(({ metadata }) => metadata.uid).toSorted();
  const isReady = ({ metadata, status }: Pod) => metadata.deletionTimestamp === undefined && status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true;
  const rootfsOf = ({ hostRoot }: { hostRoot: string }) => join(hostRoot, 'var/lib/a3s-box/home/cache/rootfs');
  const served = () => cluster.nodes.map((node) => {
    const names = new Set(readdirSync(rootfsOf(node)));
    return images.filter((image) => names.has(`${rootfsKeys[image]}.meta.json`)).length;
  });

  /** The present build, which says that it is another version. */
  function nextBuild(): string {
    const dist = join(scratch, 'dist');
    cpSync(join(root, 'dist'), dist, { recursive: true });
    for (const bundle of ['agent.cjs', 'cachepolicy.cjs']) {
      const text = readFileSync(join(dist, bundle), 'utf8');
      writeFileSync(join(dist, bundle), text.replace(/(cachepolicy-operator",\s*version:\s*")[^"]+/, `$1${nextVersion}`));
    }
    return dist;
  }

  const evicted = () => policy.get(policyName)?.status?.evictedEntries ?? 0;

  /** The image that does not run. */
  function otherImage(): { image: string; version: string } {
    const runsNext = agents().some(({ spec }) => spec.containers[0]?.image === nextImage);
    return runsNext ? { image: operatorImage, version } : { image: nextImage, version: nextVersion };
  }

  /** One more entry on every node than the limit allows. */
  function fill(): void {
    for (const node of cluster.nodes) bringBack(rootfsOf(node), 1);
  }

  it('to one of the same image restarts no agent and changes no condition', { timeout: 300_000 }, async () => {
    const [before, evictedBefore] = [uids(), evicted()];
    await kubectl(['rollout', 'restart', 'deployment/cachepolicy-controller', '-n', namespace]);
    await kubectl(rollout);
    fill();
    await eventually(() => expect(served()).toEqual([4, 4]), withinMs);
    // The new leader has looked at the policy when it counts what was evicted under it.
    await eventually(() => expect(evicted()).toBe(evictedBefore + 2), withinMs);
    expect(uids()).toEqual(before);
    expect(agents().map(({ status }) => status?.containerStatuses?.[0]?.restartCount)).toEqual([0, 0]);
    expect([...new Set(stood)]).toEqual(['Accepted True, Programmed True, Ready True']);
  });

  it('to another image replaces the agents one after the other, changes no condition, and leaves no cache without enforcement', { timeout: 300_000 }, async () => {
    const [before, evictedBefore, other] = [uids(), evicted(), otherImage()];
    const manifest = await kubectl(['kustomize', `${root}deploy`]);
    await kubectl(['apply', '-f', '-'], manifest.replaceAll(operatorImage, other.image));
    await eventually(() => expect(uids()).not.toEqual(before), withinMs);
    // In the middle of the rollout.
    fill();
    await eventually(() => expect(served()).toEqual([4, 4]), withinMs);
    await kubectl(rollout);
    await eventually(async () => {
      const reports = (await client.list<NodeCache & KubeObject>(nodeCaches)).items.map(({ status }) => status?.agentVersion);
      expect(reports).toEqual([other.version, other.version]);
      expect(policy.get(policyName)?.status).toMatchObject({ reporting: '2/2', evictedEntries: evictedBefore + 2 });
    }, withinMs);
    // Nothing more follows: what comes late would be a flap, too.
    await delay(6_000);
    expect(uids().filter((uid) => before.includes(uid))).toEqual([]);
    expect(fewestReady).toBe(1);
    expect([...new Set(stood)]).toEqual(['Accepted True, Programmed True, Ready True']);
  });
});
