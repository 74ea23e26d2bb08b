import { hostname } from 'node:os';
import { randomUUID } from 'node:crypto';
import { agentComponent, allowedRootsConfigMap, childName, componentLabel, leaseName, managedByLabel, operatorName } from '../api/names.ts';
import { KubeClient } from '../kube/client.ts';
import type { Connection } from '../kube/connection.ts';
import { systemClock } from '../kube/clock.ts';
import type { Clock } from '../kube/clock.ts';
import { runControlLoop } from '../kube/control-loop.ts';
import { lead } from '../kube/election.ts';
import { EventRecorder } from '../kube/event-recorder.ts';
import { countRequests, meterWork } from '../kube/metrics.ts';
import type { KubeObject } from '../kube/objects.ts';
import { WorkQueue } from '../kube/queue.ts';
import type { Selection } from '../kube/client.ts';
import { Reflector } from '../kube/reflector.ts';
import type { Resource } from '../kube/resource.ts';
import { cachePolicies, configMaps, daemonSets, nodeCaches, pods } from '../kube/resource.ts';
import { Store } from '../kube/store.ts';
import type { Stored } from '../kube/store.ts';
import { Transport } from '../kube/transport.ts';
import { loopDelayCheck, serveHealth } from '../observe/health.ts';
import { parseListenAddress } from '../observe/listen-address.ts';
import type { Log } from '../observe/log.ts';
import { Metrics, timeLoop } from '../observe/metrics.ts';
import type { PolicyObject } from './admission.ts';
import { AdmissionCheck } from './admission-check.ts';
import { agentImage } from './agent-image.ts';
import { parseAllowedRoots } from './allowed-roots.ts';
import type { DaemonSet } from './children.ts';
import { Inventory } from './inventory.ts';
import { podRecord, reportRecord } from './records.ts';
import { Reconciler } from './reconcile.ts';
import { Standings } from './standings.ts';

export interface ControllerOptions {
  readonly connection: Connection;
  readonly namespace: string;
  /** Image of the agents; undefined: the one that the controller's Deployment names. */
  readonly image: string | undefined;
  /** `address:port` of health and metrics. */
  readonly listen: string;
  readonly version: string;
  readonly log: Log;
  /** Paces the work: reconciles, statuses, departures. Election, watches and deadlines keep to the system's. */
  readonly clock?: Clock;
}

/** Policies at once: what is slow about one, such as a webhook that lets each try of its DaemonSet run into the deadline, must not hold up the others. */
const workers = 4;

/** Reports that come within this time are looked at once: a look costs a millisecond, and a large fleet tells many things a second. */
const gatherMs = 200;

/**
 * The controller: stands by until it leads, then works until the signal comes. Nothing of it runs on after that, or after a failure: a
 * process that lost the lease has to end, or it would look alive and never lead again.
 * @throws ERR_LEASE_LOST, ERR_KUBE_CONFIG
 */
export async function runController(options: ControllerOptions, signal: AbortSignal): Promise<void> {
  const ending = new AbortController();
  try {
    await serve(options, AbortSignal.any([signal, ending.signal]));
  } finally {
    ending.abort();
  }
}

async function serve(options: ControllerOptions, signal: AbortSignal): Promise<void> {
  const { namespace, log, clock = systemClock } = options;
  const metrics = new Metrics();
  metrics.addProcessMetrics();
  const meter = meterWork(metrics);
  const transport = new Transport(options.connection, { userAgent: `cachepolicy-controller/${options.version}`, ...countRequests(metrics) });
  const client = new KubeClient(transport);
  const watched = watch(client, namespace, log);
  const reports = watchReports(client, log);
  await serveHealth({
    ...parseListenAddress(options.listen), metrics, signal,
    live: { loop: loopDelayCheck(signal, { onDelay: timeLoop(metrics) }) },
    ready: { synced: () => (watched.hasSynced() ? undefined : 'the first lists are not complete yet') },
  });
  const watching = watched.run(signal);
  const image = options.image ?? (await agentImage(client, { namespace, log, signal }));
  if (image === undefined) return void (await watching);
  const identity = `${hostname()}_${randomUUID()}`;
  await lead({ client, namespace, name: leaseName, identity, log }, async (leadership) => {
    // A policy that has agents does not wait for hundreds that somebody makes, nor for the API server's answers about them.
    const isUrgent = (name: string) => watched.daemonSets.get(`${namespace}/${childName(name)}`) !== undefined;
    const queue = new WorkQueue({ clock, isUrgent, mostOthersAtOnce: workers - 1 });
    let standings: Standings | undefined;
    // Before its list comes, so that it is counted page by page.
    const inventory = new Inventory(reports.store, watched.pods, (name) => {
      standings?.agentsChanged(name);
      queue.addAfter(name, gatherMs);
    }, clock);
    const watchingReports = reports.run(leadership.signal);
    await Promise.race([Promise.all([watched.synced, reports.store.synced]), aborted(leadership.signal)]);
    if (leadership.signal.aborted) return watchingReports;
    meter.leads(queue);
    const allowedRoots = () => parseAllowedRoots(watched.configMaps.get(`${namespace}/${allowedRootsConfigMap}`));
    // Only now: of half a list a younger policy would look like the oldest.
    standings = new Standings({ policies: watched.policies, allowedRoots, runningAgents: (name) => inventory.fleet(name).agents, onDecided: (name) => queue.add(name) });
    const end = enqueueChanges(watched, { namespace, queue, standings });
    const fenced = client.fencedBy(leadership.fence);
    const check = new AdmissionCheck({ client: fenced, namespace, image, allowedRoots, onChange: () => enqueueAll(watched, queue), log, clock });
    const endRechecks = watched.configMaps.subscribe({ updated: ({ metadata }) => void (metadata.name === allowedRootsConfigMap && check.recheck()) });
    const checking = check.run(leadership.signal);
    const events = new EventRecorder({ client: fenced, log, component: 'cachepolicy-controller', instance: process.env['POD_NAME'] ?? hostname(), signal: leadership.signal });
    const record = events.record.bind(events);
    const reconciler = new Reconciler({
      ...watched, nodeCaches: reports.store, client: fenced, inventory, standings, admissionDifference: () => check.difference, namespace, image, record, log, clock,
    });
    await runControlLoop({ queue, reconcile: meter.timed((name, stop) => reconciler.reconcile(name, stop)), log, workers }, leadership.signal);
    end();
    endRechecks();
    standings.end();
    inventory.end();
    meter.leads(undefined);
    await checking;
    await watchingReports;
  }, signal);
  await watching;
}

type ConfigMap = KubeObject & { data?: Record<string, string> };
type Watched = ReturnType<typeof watch>;

/** What the controller sees of the cluster besides the reports: its own namespace, and its policies. */
function watch(client: KubeClient, namespace: string, log: Log) {
  const running: { store: Pick<Store, 'hasSynced' | 'synced'>; run: (signal: AbortSignal) => Promise<void> }[] = [];
  const follow = <T extends Stored, Received extends KubeObject>(resource: Resource, selection: Selection, trim?: (object: Received) => T): Store<T, Received> => {
    const store = new Store<T, Received>({ log, ...(trim && { trim }) });
    const reflector = new Reflector<Received>({ client, resource, store, log, ...selection });
    running.push({ store, run: (signal) => reflector.run(signal) });
    return store;
  };
  const stores = {
    policies: follow<PolicyObject, PolicyObject>(cachePolicies, {}),
    configMaps: follow<ConfigMap, ConfigMap>(configMaps, { namespace }),
    daemonSets: follow<DaemonSet, DaemonSet>(daemonSets, { namespace, labelSelector: `${managedByLabel}=${operatorName}` }),
    pods: follow(pods, { namespace, labelSelector: `${componentLabel}=${agentComponent}` }, podRecord),
  };
  return {
    ...stores,
    hasSynced: () => running.every(({ store }) => store.hasSynced),
    synced: Promise.all(running.map(({ store }) => store.synced)),
    run: (signal: AbortSignal) => Promise.all(running.map(({ run }) => run(signal))),
  };
}

/** The reports, listed only when this process leads: a standby has no need for the largest of all lists. */
function watchReports(client: KubeClient, log: Log) {
  const store = new Store({ log, trim: reportRecord });
  const reflector = new Reflector({ client, resource: nodeCaches, store, log });
  return { store, run: (signal: AbortSignal) => reflector.run(signal) };
}

/** Which policies a change may concern. Reports and pods say so themselves (inventory.ts), and so do policies that decide a conflict for another (standings.ts). */
function enqueueChanges({ policies, configMaps: maps, daemonSets: sets }: Watched, { namespace, queue, standings }: { namespace: string; queue: WorkQueue; standings: Standings }): () => void {
  const policy = (object: PolicyObject) => queue.add(object.metadata.name);
  const child = (object: KubeObject) => queue.add(object.metadata.name.replace(/^cachepolicy-/, ''));
  const configMap = (object: KubeObject) => (object.metadata.name === allowedRootsConfigMap && object.metadata.namespace === namespace ? standings.allowedRootsChanged() : child(object));
  const ends = [
    policies.subscribe({ added: policy, updated: policy, deleted: policy }),
    maps.subscribe({ added: configMap, updated: configMap, deleted: configMap }),
    sets.subscribe({ added: child, updated: child, deleted: child }),
  ];
  return () => ends.forEach((end) => end());
}

function enqueueAll({ policies }: Watched, queue: WorkQueue): void {
  for (const { metadata } of policies.values()) queue.add(metadata.name);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));
}
