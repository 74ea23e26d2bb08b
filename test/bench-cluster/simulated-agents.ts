/**
 * Agents without a disk: each has a Pod and a Node, a token that is bound to them, connections of its own, and the code that the real one reports and
 * reads its policy with. Only what it has counted is made up.
 */
import type { Identity } from '../../src/agent/in-cluster/identity.ts';
import { ConfigMapSource } from '../../src/agent/in-cluster/config-map-source.ts';
import { NodeCacheSink } from '../../src/agent/in-cluster/node-cache-sink.ts';
import { agentComponent, agentServiceAccount, childName, componentLabel, nodeCacheName, policyLabel } from '../../src/api/names.ts';
import type { ApplyOptions } from '../../src/kube/client.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { nodes, pods } from '../../src/kube/resource.ts';
import type { Resource } from '../../src/kube/resource.ts';
import type { Transport } from '../../src/kube/transport.ts';
import { silentLog } from '../../src/observe/log.ts';
import type { CompiledPolicy } from '../../src/policy/compiled.ts';
import type { CacheState } from '../../src/policy/node-report.ts';
import { namespace, onEach, policyName } from './stage.ts';
import type { Stage } from './stage.ts';

const entryBytes = 2 ** 20;
const mebi = 2 ** 20;

/** One report that arrived. */
export interface Delivery {
  readonly sentAtMs: number;
  readonly resourceVersion: string;
  readonly evictedEntries: number;
}

/** How the API server answered the writes of all agents. */
export class Answers {
  total = 0;
  refused = 0;
  /** Refused with 429 although the try before of the same call had been refused and waited. */
  refusedAgain = 0;
  unanswered = 0;
}

export class SimulatedAgent {
  readonly identity: Identity;
  readonly deliveries: Delivery[] = [];
  readonly #transport: Transport;
  readonly #client: KubeClient;
  readonly #sink: NodeCacheSink;
  readonly #stopping = new AbortController();
  #policy: CompiledPolicy | undefined;
  /** In the first cache. */
  #entries = 4;
  #evicted = 0;

  constructor(stage: Stage, identity: Identity, token: string, answers: Answers) {
    this.identity = identity;
    let refused = false;
    this.#transport = stage.transport(token, {
      userAgent: 'cachepolicy-agent/bench',
      onAnswer: ({ method }, status) => {
        if (method === 'GET') return;
        answers.total += 1;
        if (status === 0) answers.unanswered += 1;
        if (status === 429) answers.refused += 1;
        if (status === 429 && refused) answers.refusedAgain += 1;
        refused = status === 429;
      },
    });
    const delivered = (delivery: Delivery) => this.deliveries.push(delivery);
    this.#client = new TimedClient(this.#transport, delivered);
    this.#sink = new NodeCacheSink({ client: this.#client, identity, agentVersion: 'bench', log: silentLog });
  }

  get nodeCacheName(): string {
    return nodeCacheName(policyName, this.identity.nodeName);
  }

  get hasReported(): boolean {
    return this.#sink.hasReported;
  }

  /** Opens its connection. */
  async connect(): Promise<void> {
    await this.#transport.request({ method: 'GET', path: '/version', repeatable: true });
  }

  /** As src/agent/in-cluster/main.ts: the NodeCache first, then what was found. */
  start(policy: CompiledPolicy): void {
    this.#policy = policy;
    void this.#sink.run(this.#stopping.signal);
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(5_000)]);
    void this.#sink.introduce(policy, signal).catch(() => undefined).then(() => this.#report());
  }

  /** Follows its ConfigMap, with a watch of its own. @param onPolicy told of every policy that comes into force */
  watch(onPolicy: (policy: CompiledPolicy) => void): void {
    const source = new ConfigMapSource({ client: this.#client, namespace, policyName, mountedFile: '/nonexistent', log: silentLog, onRefusal: (refusal) => this.#sink.refuse(refusal) });
    void source.follow(this.#stopping.signal, (policy) => {
      onPolicy(policy);
      if (this.#policy === undefined) return this.start(policy);
      this.#policy = policy;
      this.#report();
    });
  }

  /** One entry goes from the first cache, and another one comes into it or not: something to tell. */
  evict(): void {
    this.#evicted += 1;
    this.#entries = this.#entries === 4 ? 5 : 4;
    this.#report();
  }

  stop(): void {
    this.#stopping.abort();
    this.#transport.close();
  }

  #report(): void {
    if (this.#policy !== undefined) this.#sink.report(this.#policy, statesOf(this.#policy, this.#entries, this.#evicted));
  }
}

/** What a node with these entries in its first cache, and four in every other, tells. */
export function statesOf(policy: CompiledPolicy, entries: number, evicted: number): CacheState[] {
  const nothing = { entries: 0, bytes: 0 };
  return policy.caches.map(({ name, limits }, index) => {
    const count = index === 0 ? entries : 4;
    return {
      name, limits, lastRun: undefined, problem: undefined,
      look: {
        stats: { entryCount: count, totalBytes: count * entryBytes },
        held: { inUse: { entries: 1, bytes: entryBytes }, kept: nothing, recent: nothing }, inUseBy: new Map(),
        wouldEvict: nothing, failed: 0, unreachable: [], allHeldBy: undefined, expiredPins: 0, damaged: 0, leftovers: 0, unrecognised: 0, clockAhead: 0, holdSources: ['Markers'],
        filesystem: { capacityBytes: 2 ** 40, availableBytes: 2 ** 39 },
      },
      totals: { evictedEntries: index === 0 ? evicted : 0, evictedBytes: index === 0 ? evicted * mebi : 0, revived: 0, raced: 0, lastEvictionAtMs: index === 0 && evicted > 0 ? Date.now() : null },
    };
  });
}

/** Says when a report left, and as which version it arrived. */
class TimedClient extends KubeClient {
  readonly #delivered: (delivery: Delivery) => void;

  constructor(transport: Transport, delivered: (delivery: Delivery) => void) {
    super(transport);
    this.#delivered = delivered;
  }

  override async applyStatus<T extends KubeObject>(resource: Resource, object: T, options: ApplyOptions): Promise<T> {
    const sentAtMs = performance.now();
    const answer = await super.applyStatus(resource, object, options);
    const { status } = answer as { status?: { evictedEntries?: number } };
    this.#delivered({ sentAtMs, resourceVersion: answer.metadata.resourceVersion ?? '', evictedEntries: status?.evictedEntries ?? 0 });
    return answer;
  }
}

/** Makes so many nodes, a ready pod of an agent on each, and a token for each pod. */
export async function assembleAgents(stage: Stage, count: number, answers: Answers): Promise<SimulatedAgent[]> {
  const agents: SimulatedAgent[] = [];
  const numbers = Array.from({ length: count }, (_, index) => index);
  await onEach(numbers, async (number) => {
    const identity = await makePod(stage.admin, number);
    agents.push(new SimulatedAgent(stage, identity, await stage.token(agentServiceAccount, { name: identity.podName, uid: identity.podUID }), answers));
  });
  return agents;
}

async function makePod(admin: KubeClient, number: number): Promise<Identity> {
  const nodeName = `node-${String(number).padStart(5, '0')}`;
  const node: KubeObject = await admin.create<KubeObject>(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName } });
  // As the DaemonSet controller names them: five characters after the DaemonSet's name.
  const podName = `${childName(policyName)}-${number.toString(36).padStart(5, '0')}`;
  const labels = { [policyLabel]: policyName, [componentLabel]: agentComponent };
  const spec = { nodeName, serviceAccountName: agentServiceAccount, containers: [{ name: 'agent', image: 'none' }], tolerations: [{ operator: 'Exists' }] };
  const pod = await admin.create(pods, { apiVersion: 'v1', kind: 'Pod', metadata: { name: podName, namespace, labels }, spec } as KubeObject);
  const lastTransitionTime = pod.metadata.creationTimestamp;
  const status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True', lastTransitionTime }] };
  await admin.patch(pods, { namespace, name: podName, subresource: 'status' }, { type: 'merge', body: { status } });
  return { nodeName, nodeUID: node.metadata.uid ?? '', podName, podUID: pod.metadata.uid ?? '', namespace };
}
