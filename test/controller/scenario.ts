import { OperatorError } from '../../src/errors.ts';
import type { DaemonSet } from '../../src/controller/children.ts';
import { Inventory } from '../../src/controller/inventory.ts';
import { podRecord, reportRecord } from '../../src/controller/records.ts';
import type { NodeCacheObject, Pod } from '../../src/controller/records.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { Reconciler } from '../../src/controller/reconcile.ts';
import { Standings } from '../../src/controller/standings.ts';
import type { ApplyOptions, DeleteOptions, KubeClient, ListOptions } from '../../src/kube/client.ts';
import { keyOf } from '../../src/kube/objects.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import type { Resource } from '../../src/kube/resource.ts';
import { KubeStatusError } from '../../src/kube/status-error.ts';
import { Store } from '../../src/kube/store.ts';
import type { Stored } from '../../src/kube/store.ts';
import { silentLog } from '../../src/observe/log.ts';
import { SteppedClock } from '../kube/stepped-clock.ts';
import { allowedRoots } from './builders.ts';

type Child = KubeObject & { data?: Record<string, string>; spec?: unknown };

/**
 * A controller with real stores in front of a server that does as an API server would with the few calls a reconcile makes:
 * versions and generations, conflicts, uids. It records every call; what the server has, the watch shows unless it is told to lag.
 */
export class Scenario {
  readonly clock = new SteppedClock();
  readonly policies = new Store<PolicyObject>({ log: silentLog });
  readonly configMaps = new Store<KubeObject>({ log: silentLog });
  readonly daemonSets = new Store<DaemonSet>({ log: silentLog });
  readonly nodeCaches = new Store({ log: silentLog, trim: reportRecord });
  readonly pods = new Store({ log: silentLog, trim: podRecord });
  readonly inventory = new Inventory(this.nodeCaches, this.pods, (name) => this.#standings.agentsChanged(name), this.clock);
  readonly #standings = new Standings({
    policies: this.policies, allowedRoots: () => this.#allowedRoots, runningAgents: (name) => this.inventory.fleet(name).agents, onDecided: () => undefined,
  });
  #allowedRoots: readonly string[] = allowedRoots;
  image = 'cachepolicy:1';
  admissionDifference: string | undefined;
  /** What an admin was told: `Normal Evicted a3s-box`. */
  readonly events: string[] = [];
  /** What happens while a list is on its way. */
  whileListed: () => void = () => undefined;
  /** What somebody else keeps in the status of policies. */
  foreignConditions: NonNullable<NonNullable<PolicyObject['status']>['conditions']> = [];
  /** What the DaemonSet controller says of pods that it could not make. */
  failures: { involvedObject: { uid: string }; message: string; lastTimestamp: string }[] = [];
  eventLists = 0;
  /** How many lists were asked for. */
  lists = 0;
  /** While true, what is written stays unseen. */
  watchLags = false;
  readonly #server = new Map<string, Child>();
  readonly #unseen: (() => void)[] = [];
  #version = 100;
  #calls: string[] = [];
  #lost: string | undefined;
  #writesLeft = Infinity;
  #refusal: { call: string; error: Error } | undefined;
  #reconciler = this.#newReconciler();

  /** Reconciles the policy. @returns the calls it made, and when it wants to look again */
  async reconcile(name = 'a3s-box'): Promise<{ calls: string[]; again: number | undefined }> {
    this.#calls = [];
    await this.#standings.settled();
    const result = await this.#reconciler.reconcile(name, new AbortController().signal);
    return { calls: this.#calls, again: result?.requeueAfterMs };
  }

  /** The calls of a reconcile that nothing was said about beforehand. */
  async calls(name = 'a3s-box'): Promise<string[]> {
    return (await this.reconcile(name)).calls;
  }

  set allowedRoots(roots: readonly string[]) {
    this.#allowedRoots = roots;
    this.#standings.allowedRootsChanged();
  }

  restartController(): void {
    this.#writesLeft = Infinity;
    this.#reconciler = this.#newReconciler();
  }

  /** What the watch shows next of an object that somebody else wrote. */
  shows<T extends KubeObject>(store: Store<Stored, T>, object: T, change: 'MODIFIED' | 'DELETED' = 'MODIFIED'): void {
    const shown = structuredClone(object);
    shown.metadata.resourceVersion = String((this.#version += 1));
    if (change === 'DELETED') this.#server.delete(keyOf(shown) + shown.kind);
    else this.#server.set(keyOf(shown) + shown.kind, shown);
    store.apply({ type: change, object: shown });
  }

  /** What somebody else wrote and the watch does not show yet. */
  hides(object: KubeObject): void {
    const hidden = structuredClone(object);
    hidden.metadata.resourceVersion = String((this.#version += 1));
    this.#server.set(keyOf(object) + object.kind, hidden);
  }

  /** An admin changes the spec. */
  edit(change: (spec: PolicyObject['spec']) => void, name = 'a3s-box'): void {
    const policy = structuredClone(this.policies.get(name));
    if (policy === undefined) throw new Error(`no policy ${name}`);
    change(policy.spec);
    policy.metadata.generation = (policy.metadata.generation ?? 0) + 1;
    this.shows(this.policies, policy);
  }

  get status(): NonNullable<PolicyObject['status']> {
    return this.policies.get('a3s-box')?.status ?? {};
  }

  /** `True Ready` */
  condition(type: string): string | undefined {
    const found = this.status.conditions?.find((each) => each.type === type);
    return found && `${found.status} ${found.reason}`;
  }

  child(kind: 'ConfigMap' | 'DaemonSet'): Child & DaemonSet {
    const child = this.#server.get(`cachepolicy-system/cachepolicy-a3s-box${kind}`);
    if (child === undefined) throw new Error(`no ${kind}`);
    return child as Child & DaemonSet;
  }

  /** The next such call is answered so. */
  refuse(call: string, status: number, reason: string): void {
    this.#refusal = { call, error: new KubeStatusError(call, status, { reason }) };
  }

  /** The next such call arrives, but nobody hears so. */
  loseAnswer(call: string): void {
    this.#lost = call;
  }

  /** This many writes more arrive, and nothing after them. */
  crashAfter(writes: number): void {
    this.#writesLeft = writes;
  }

  catchUp(): void {
    this.watchLags = false;
    for (const show of this.#unseen.splice(0)) show();
  }

  #newReconciler(): Reconciler {
    const { policies, daemonSets, configMaps, nodeCaches, inventory, clock } = this;
    const client = {
      get: async (resource: Resource, place: { name: string }) => this.#get(resource, place.name),
      list: async ({ kind }: Resource, { fieldSelector = '' }: ListOptions) => (kind === 'Event' ? this.#listEvents(fieldSelector) : this.#list(kind, fieldSelector.replace('spec.nodeName=', ''))),
      apply: async (_: Resource, object: Child, options: ApplyOptions) => this.#apply(object, options),
      applyStatus: async (_: Resource, object: PolicyObject, options: ApplyOptions) => this.#applyStatus(object, options),
      delete: async (resource: Resource, place: { name: string }, options: DeleteOptions) => this.#delete(resource, place.name, options),
    };
    return new Reconciler({
      client: client as unknown as KubeClient, policies, daemonSets, configMaps, nodeCaches, inventory, clock,
      standings: this.#standings,
      admissionDifference: () => this.admissionDifference,
      namespace: 'cachepolicy-system', image: this.image, record: ({ regarding, type, reason }) => this.events.push(`${type} ${reason} ${regarding.metadata.name}`), log: silentLog,
    });
  }

  #get({ kind }: Resource, name: string): KubeObject {
    const present = this.#server.get(name + kind);
    if (present === undefined) throw new KubeStatusError('GET', 404, { reason: 'NotFound' });
    return structuredClone(present);
  }

  #listEvents(fieldSelector: string): { items: object[]; metadata: object } {
    this.eventLists += 1;
    const items = this.failures.filter((event) => fieldSelector === `involvedObject.uid=${event.involvedObject.uid},reason=FailedCreate`);
    return { items, metadata: {} };
  }

  #list(kind: string, nodeName: string): { items: KubeObject[]; metadata: object } {
    this.lists += 1;
    this.whileListed();
    const items = [...this.#server.values()].filter((object) => object.kind === kind && [undefined, '', (object as Pod).spec?.nodeName].includes(nodeName));
    return { items, metadata: {} };
  }

  #apply(wanted: Child, options: ApplyOptions): Child {
    this.#record(`apply ${wanted.kind} ${keyOf(wanted)}`, options);
    const present = this.#server.get(keyOf(wanted) + wanted.kind);
    const basis = wanted.metadata.resourceVersion;
    if (basis !== undefined && basis !== present?.metadata.resourceVersion) throw new KubeStatusError('PATCH', 409, { reason: 'Conflict' });
    const object = this.#asServed(wanted, present);
    this.#show(object.kind === 'DaemonSet' ? this.daemonSets : this.configMaps, object);
    return structuredClone(object);
  }

  /** As the server has it afterwards: an apply that changes nothing makes no new version, only a changed DaemonSet spec makes a new generation. */
  #asServed(wanted: Child, present: Child | undefined): Child {
    const object = structuredClone({ ...present, ...wanted, metadata: { ...present?.metadata, ...wanted.metadata } });
    const text = (child: Child) => JSON.stringify({ ...child, metadata: { ...child.metadata, resourceVersion: undefined, generation: undefined } });
    if (present !== undefined && text(object) === text(present)) return present;
    object.metadata.resourceVersion = String((this.#version += 1));
    if (object.kind === 'DaemonSet') {
      const changed = JSON.stringify(object.spec) !== JSON.stringify(present?.spec);
      object.metadata.generation = (present?.metadata.generation ?? 0) + (changed ? 1 : 0);
    }
    this.#server.set(keyOf(object) + object.kind, object);
    return object;
  }

  #applyStatus(wanted: PolicyObject, options: ApplyOptions): PolicyObject {
    const name = wanted.metadata.name;
    this.#record(`status ${name}`, options);
    const present = this.#server.get(`${name}CachePolicy`) as PolicyObject | undefined;
    if (present === undefined) throw new KubeStatusError('PATCH', 404, { reason: 'NotFound' });
    if (wanted.metadata.resourceVersion !== present.metadata.resourceVersion) throw new KubeStatusError('PATCH', 409, { reason: 'Conflict' });
    const status: NonNullable<PolicyObject['status']> = JSON.parse(JSON.stringify(wanted.status));
    status.conditions = [...(status.conditions ?? []), ...this.foreignConditions];
    if (JSON.stringify(status) === JSON.stringify(present.status)) return present;
    const metadata = { ...present.metadata, resourceVersion: String((this.#version += 1)) };
    const object: PolicyObject = { ...present, metadata, status };
    this.#server.set(`${name}CachePolicy`, object);
    this.#show(this.policies, object);
    if (this.#lost === `status ${name}`) {
      this.#lost = undefined;
      throw new OperatorError('ERR_KUBE_UNREACHABLE', 'PATCH: no answer within 5 s');
    }
    return object;
  }

  #delete(resource: Resource, name: string, { preconditions }: DeleteOptions): void {
    this.#record(`delete ${resource.kind} ${name} of ${preconditions?.uid ?? 'any uid'}`);
    const present = this.#server.get(name + resource.kind) as NodeCacheObject | undefined;
    if (present?.metadata.finalizers !== undefined) {
      return this.shows(this.nodeCaches, { ...present, metadata: { ...present.metadata, deletionTimestamp: '2026-01-01T00:00:30Z' } });
    }
    const { resourceVersion } = preconditions ?? {};
    if (present !== undefined && resourceVersion !== present.metadata.resourceVersion) throw new KubeStatusError('DELETE', 409, { reason: 'Conflict' });
    this.#server.delete(name + resource.kind);
    if (present !== undefined) this.#later(() => this.nodeCaches.apply({ type: 'DELETED', object: present }));
  }

  #record(call: string, options?: ApplyOptions): void {
    this.#calls.push(call);
    if (options !== undefined && options.fieldManager !== 'cachepolicy-controller') throw new Error(`${call} as ${options.fieldManager}`);
    if (this.#writesLeft-- <= 0) throw new Error('crashed');
    const refusal = this.#refusal;
    if (refusal === undefined || !call.startsWith(refusal.call)) return;
    this.#refusal = undefined;
    throw refusal.error;
  }

  #show<T extends KubeObject>(store: Store<Stored, T>, object: KubeObject): void {
    const shown = structuredClone(object) as T;
    this.#later(() => store.apply({ type: 'MODIFIED', object: shown }));
  }

  #later(show: () => void): void {
    if (this.watchLags) this.#unseen.push(show);
    else show();
  }
}
