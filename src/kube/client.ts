/** The verbs of the API over one transport. Objects go in and come out as plain JSON. */
import type { KubeList, KubeObject, WatchEvent } from './objects.ts';
import { pathOf } from './resource.ts';
import type { Place, Query, Resource } from './resource.ts';
import type { Call, Transport } from './transport.ts';
import { watchEvents } from './watch-stream.ts';

/** Stands between a former leader and the API: see election.ts. */
export interface Fence {
  /** @throws ERR_LEASE_LOST where this process may no longer write */
  check(): void;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly deadlineMs?: number | undefined;
  readonly maxAttempts?: number | undefined;
  readonly refusedSpreadMs?: number | undefined;
}

/** What of a collection is meant. */
export interface Selection {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface ListOptions extends CallOptions, Selection {
  readonly limit?: number | undefined;
  readonly continue?: string | undefined;
}

export interface WatchOptions extends CallOptions, Selection {
  /** Events after this version. */
  readonly resourceVersion: string;
  /** After this time the server ends the watch. */
  readonly timeoutSeconds: number;
}

export interface WriteOptions extends CallOptions {
  /** The server answers as if it wrote, admission included, and writes nothing. */
  readonly dryRun?: boolean;
}

export interface ApplyOptions extends WriteOptions {
  readonly fieldManager: string;
  /** Take fields from other managers. Default true, as controllers do. */
  readonly force?: boolean;
}

export interface DeleteOptions extends CallOptions {
  /** Refused with 409 where the present object is another one. */
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
}

/** The fence closes 5 s before others may take the lease: a write that passed it has ended by then, too. */
const fencedWriteMs = 5_000;

const patchTypes = { merge: 'application/merge-patch+json', json: 'application/json-patch+json' } as const;

/** Every method throws KubeStatusError where the server says no, and ERR_KUBE_UNREACHABLE where it says nothing. */
export class KubeClient {
  readonly #transport: Transport;
  readonly #fence: Fence | undefined;

  constructor(transport: Transport, fence?: Fence) {
    this.#transport = transport;
    this.#fence = fence;
  }

  /** The same client, whose every write first passes the fence, on every try. */
  fencedBy(fence: Fence): KubeClient {
    return new KubeClient(this.#transport, fence);
  }

  get<T extends KubeObject>(resource: Resource, place: Place & { name: string }, options: CallOptions = {}): Promise<T> {
    return this.#transport.request<T>({ ...limitsOf(options), method: 'GET', path: pathOf(resource, place), repeatable: true });
  }

  /** One page of a list. */
  async list<T extends KubeObject>(resource: Resource, options: ListOptions = {}): Promise<KubeList<T>> {
    const path = pathOf(resource, options, { ...selectorsOf(options), limit: options.limit, continue: options.continue });
    const list = await this.#transport.request<KubeList<T>>({ ...limitsOf(options), method: 'GET', path, repeatable: true });
    // The items of a list come without the kind, those of a watch with it.
    const { apiVersion, kind } = resource;
    return { ...list, items: (list.items ?? []).map((item) => Object.assign(item, { apiVersion, kind })) };
  }

  /** Opens a watch; the promise resolves when the server has taken it. Tried again only after a 401. */
  async watch<T extends KubeObject>(resource: Resource, options: WatchOptions): Promise<AsyncGenerator<WatchEvent<T>>> {
    const { resourceVersion, timeoutSeconds } = options;
    const query = { ...selectorsOf(options), watch: true, allowWatchBookmarks: true, resourceVersion, timeoutSeconds };
    const path = pathOf(resource, options, query);
    return watchEvents<T>(`WATCH ${path}`, await this.#transport.open({ ...limitsOf(options), method: 'GET', path, repeatable: true }));
  }

  /** @throws KubeStatusError 409 AlreadyExists */
  create<T extends KubeObject>(resource: Resource, object: T, options: WriteOptions = {}): Promise<T> {
    const path = pathOf(resource, { namespace: object.metadata.namespace }, dryRunOf(options));
    return this.#write<T>({ ...limitsOf(options), method: 'POST', path, body: object, repeatable: false });
  }

  /** Replaces the object whose `metadata.resourceVersion` the new one carries. @throws KubeStatusError 409 where another writer was first */
  replace<T extends KubeObject>(resource: Resource, object: T, options: CallOptions = {}): Promise<T> {
    const repeatable = object.metadata.resourceVersion !== undefined;
    return this.#write<T>({ ...limitsOf(options), method: 'PUT', path: pathOf(resource, object.metadata), body: object, repeatable });
  }

  /** Server-side apply: creates the object, or makes exactly the given fields this manager's. */
  apply<T extends KubeObject>(resource: Resource, object: T, options: ApplyOptions): Promise<T> {
    return this.#apply(resource, object.metadata, object, options);
  }

  /** Server-side apply of the status alone. @throws KubeStatusError 404 where there is no such object */
  applyStatus<T extends KubeObject>(resource: Resource, object: T, options: ApplyOptions): Promise<T> {
    return this.#apply(resource, { ...object.metadata, subresource: 'status' }, object, options);
  }

  /** A merge patch, or a JSON patch (a list of operations). Not repeated when it is unknown whether it arrived. */
  patch<T extends KubeObject>(resource: Resource, place: Place & { name: string }, patch: { type: 'merge' | 'json'; body: unknown }, options: CallOptions = {}): Promise<T> {
    const { type, body } = patch;
    return this.#write<T>({ ...limitsOf(options), method: 'PATCH', path: pathOf(resource, place), body, contentType: patchTypes[type], repeatable: false });
  }

  /** @throws KubeStatusError 404 where it is gone already, 409 where a precondition fails */
  async delete(resource: Resource, place: Place & { name: string }, options: DeleteOptions = {}): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: options.preconditions, propagationPolicy: options.propagationPolicy };
    await this.#write({ ...limitsOf(options), method: 'DELETE', path: pathOf(resource, place), body, repeatable: true });
  }

  /** Deletes everything in the collection that the selectors match. */
  async deleteCollection(resource: Resource, options: CallOptions & Selection & Pick<DeleteOptions, 'propagationPolicy'>): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: options.propagationPolicy };
    await this.#write({ ...limitsOf(options), method: 'DELETE', path: pathOf(resource, options, selectorsOf(options)), body, repeatable: true });
  }

  #apply<T extends KubeObject>(resource: Resource, place: Place, object: T, options: ApplyOptions): Promise<T> {
    const path = pathOf(resource, place, { fieldManager: options.fieldManager, force: options.force ?? true, ...dryRunOf(options) });
    return this.#write<T>({ ...limitsOf(options), method: 'PATCH', path, body: object, contentType: 'application/apply-patch+yaml', repeatable: true });
  }

  #write<T>(call: Call): Promise<T> {
    const fence = this.#fence;
    if (fence === undefined) return this.#transport.request<T>(call);
    return this.#transport.request<T>({ ...call, deadlineMs: Math.min(call.deadlineMs ?? fencedWriteMs, fencedWriteMs), beforeSend: () => fence.check() });
  }
}

function limitsOf({ signal, deadlineMs, maxAttempts, refusedSpreadMs }: CallOptions): CallOptions {
  return { signal, deadlineMs, maxAttempts, refusedSpreadMs };
}

function dryRunOf({ dryRun = false }: WriteOptions): Query {
  return dryRun ? { dryRun: 'All' } : {};
}

function selectorsOf({ labelSelector, fieldSelector }: Selection): Query {
  return { labelSelector, fieldSelector };
}
