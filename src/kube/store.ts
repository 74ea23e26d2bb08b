import type { Log } from '../observe/log.ts';
import { compareResourceVersions, keyOf } from './objects.ts';
import type { KubeObject, WatchEvent } from './objects.ts';

/** What a store tells. A handler that throws is logged, and changes nothing for the others. */
export interface StoreHandlers<T> {
  added?(object: T): void;
  updated?(object: T, old: T): void;
  /** @param object as it was last known */
  deleted?(object: T): void;
}

/** The least that a store has to keep of an object. */
export interface Stored {
  readonly metadata: Pick<KubeObject['metadata'], 'name' | 'namespace' | 'uid' | 'resourceVersion'>;
}

/** What a reflector needs of a store, whatever that keeps. */
export type Fed<Received extends KubeObject> = Pick<Store<Stored, Received>, 'apply' | 'replace' | 'forgetDeleted'>;

export interface StoreOptions<T extends Stored, Received> {
  readonly log: Log;
  /** Keeps less of each object, to save memory. `managedFields` never stay. */
  readonly trim?: (object: Received) => T;
}

/**
 * The present objects of one selection, as far as the reflector that fills it knows. Objects in it are never changed, only replaced.
 * It keeps a `T` of each object it receives; by default the whole.
 */
export class Store<T extends Stored = KubeObject, Received extends KubeObject = T extends KubeObject ? T : KubeObject> {
  readonly #objects = new Map<string, T>();
  /** Versions of what was deleted since the last bookmark or list: a late event must not bring it back. */
  #deletedVersions = new Map<string, string | undefined>();
  /** The same, until the bookmark or list before: what was asked for elsewhere may come later than a bookmark. */
  #deletedEarlier = new Map<string, string | undefined>();
  /** What came beside a list that is on its way, and may be younger than that. */
  #besideList: Set<string> | undefined;
  readonly #handlers = new Set<StoreHandlers<T>>();
  readonly #log: Log;
  readonly #trim: (object: Received) => T;
  readonly #firstSync = Promise.withResolvers<void>();
  #hasSynced = false;

  constructor(options: StoreOptions<T, Received>) {
    this.#log = options.log;
    this.#trim = options.trim ?? ((object) => object as unknown as T);
  }

  /** True from the first complete list on. */
  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Resolves with the first complete list. */
  get synced(): Promise<void> {
    return this.#firstSync.promise;
  }

  get size(): number {
    return this.#objects.size;
  }

  /** @param key `namespace/name`, or `name` for what is cluster-scoped */
  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  /** What is present already is told as added, before this returns. The returned function ends the subscription. */
  subscribe(handlers: StoreHandlers<T>): () => void {
    this.#handlers.add(handlers);
    for (const object of this.#objects.values()) this.#tell(object, () => handlers.added?.(object));
    return () => void this.#handlers.delete(handlers);
  }

  /** Takes an event of the watch. Duplicates, and events older than what is known, are dropped. */
  apply(event: WatchEvent<Received>): void {
    if (event.type === 'BOOKMARK') return this.#ageDeleted();
    const { object } = event;
    const key = keyOf(object);
    const known = this.#objects.get(key)?.metadata.resourceVersion ?? this.#deletedVersions.get(key) ?? this.#deletedEarlier.get(key);
    const version = object.metadata.resourceVersion;
    if (compareResourceVersions(version, known) < 0) return;
    if (event.type === 'DELETED') {
      this.#remove(key);
      this.#deletedVersions.set(key, version);
    } else if (known === undefined || known !== version) {
      this.#besideList?.add(key);
      this.#put(key, object);
    }
  }

  /** Takes a list, page by page: what it holds is put in at once; what it does not hold goes when it has ended. A list that fails in between removes nothing. */
  async replace(pages: AsyncIterable<readonly Received[]>): Promise<void> {
    const listed = new Set<string>();
    const besideList = (this.#besideList = new Set());
    for await (const page of pages) {
      for (const object of page) {
        const key = keyOf(object);
        listed.add(key);
        if (this.#objects.get(key)?.metadata.resourceVersion !== object.metadata.resourceVersion) this.#put(key, object);
      }
    }
    for (const key of this.#objects.keys()) if (!listed.has(key) && !besideList.has(key)) this.#remove(key);
    this.#besideList = undefined;
    this.#ageDeleted();
    this.#hasSynced = true;
    this.#firstSync.resolve();
  }

  /** Versions went back: what was deleted in versions that are no more may be made again in older ones. */
  forgetDeleted(): void {
    this.#deletedVersions = new Map();
    this.#deletedEarlier = new Map();
  }

  #ageDeleted(): void {
    this.#deletedEarlier = this.#deletedVersions;
    this.#deletedVersions = new Map();
  }

  #put(key: string, object: Received): void {
    const old = this.#objects.get(key);
    // Made again under the same name, and the deletion in between was not seen.
    if (old !== undefined && old.metadata.uid !== object.metadata.uid) {
      this.#remove(key);
      return this.#put(key, object);
    }
    const kept = this.#keep(object);
    this.#objects.set(key, kept);
    this.#deletedVersions.delete(key);
    this.#deletedEarlier.delete(key);
    for (const handlers of this.#handlers) this.#tell(kept, () => (old === undefined ? handlers.added?.(kept) : handlers.updated?.(kept, old)));
  }

  #remove(key: string): void {
    const old = this.#objects.get(key);
    if (old === undefined) return;
    this.#objects.delete(key);
    for (const handlers of this.#handlers) this.#tell(old, () => handlers.deleted?.(old));
  }

  #keep(object: Received): T {
    delete object.metadata.managedFields;
    return this.#trim(object);
  }

  #tell(object: T, call: () => unknown): void {
    const fail = (err: unknown) => this.#log.error({ err, object: keyOf(object) }, 'a handler of a watched object failed');
    try {
      // A function typed as returning nothing may be asynchronous all the same.
      const result = call();
      if (result instanceof Promise) result.catch(fail);
    } catch (error) {
      fail(error);
    }
  }
}
