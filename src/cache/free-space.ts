import { OperatorError } from '../errors.ts';
import type { Demand, Filesystem, InodeStep, Tries } from '../policy/free-space.ts';
import { afterTry, isInVain, isWithinCapacity, limitsFreeSpace, noTries, shareOut, shortLimits } from '../policy/free-space.ts';
import type { Limits } from '../policy/limits.ts';
import type { Tally, UnreachableLimit } from '../policy/plan.ts';
import type { Outlook } from './outlook.ts';

export type FilesystemView = Filesystem & { readonly device: string };

/** A cache whose filesystem has to have some space left. What it throws is its own trouble, told by itself. */
export interface Tenant {
  readonly limits: Limits;
  filesystem(): FilesystemView;
  /** What may go for the sake of free space alone. */
  outlook(): Promise<Outlook>;
  /** Bytes of what was evicted before, and that a purge will give. */
  restingBytes(): Promise<number>;
  /** Evicts what is demanded, or as much of it as one pass takes out, and deletes it. @returns what went */
  free(demand: Demand, signal?: AbortSignal): Promise<Tally>;
  /** Deletes what was evicted before, without letting it rest. */
  purge(signal?: AbortSignal): Promise<void>;
}

/** The caches of one filesystem, as it was when it was asked. */
export interface Household<T extends Tenant> {
  readonly filesystem: FilesystemView;
  readonly tenants: readonly T[];
}

/** Caches by the filesystem they lie on; those that ask for no free space, or cannot be opened, are left out. */
export function byFilesystem<T extends Tenant>(tenants: readonly T[]): readonly Household<T>[] {
  const devices = new Map<string, Household<T>>();
  for (const tenant of tenants) {
    const filesystem = limitsFreeSpace(tenant.limits) ? viewOf(tenant) : undefined;
    if (filesystem === undefined) continue;
    const together = devices.get(filesystem.device)?.tenants ?? [];
    devices.set(filesystem.device, { filesystem, tenants: [...together, tenant] });
  }
  return [...devices.values()];
}

/** Whether one of the caches wants more to be free. */
export function isShort({ filesystem, tenants }: Household<Tenant>): boolean {
  return tenants.some(({ limits }) => shortLimits(limits, filesystem).length > 0);
}

/** Whether the filesystem is large enough for something of what it is short of: else all that may go would go in vain. */
function canHelp({ filesystem, tenants }: Household<Tenant>): boolean {
  return tenants.some(({ limits }) => shortLimits(limits, filesystem).some(isWithinCapacity));
}

/** Undefined where the cache cannot be opened. */
function viewOf(tenant: Tenant): FilesystemView | undefined {
  try {
    return tenant.filesystem();
  } catch (error) {
    if (error instanceof OperatorError) return undefined;
    throw error;
  }
}

export interface Shortage<T extends Tenant> {
  readonly filesystem: FilesystemView;
  /** What of each cache has to go. */
  readonly demands: ReadonlyMap<T, Demand>;
  /** When time alone lets another entry go; null where it never does. */
  readonly nextFreeAtMs: number | null;
}

/** What is short on the filesystem of these caches, and whose entries make up for it; undefined where nothing is short. Reads only. */
export async function shortageOf<T extends Tenant>(tenants: readonly T[], nowMs: number, before?: InodeStep): Promise<Shortage<T> | undefined> {
  const filesystem = tenants.map(viewOf).find((view) => view !== undefined);
  if (filesystem === undefined || !isShort({ filesystem, tenants })) return undefined;
  const present: T[] = [];
  const claims = [];
  for (const tenant of tenants) {
    const outlook = await unlessFailing(() => tenant.outlook());
    if (outlook === undefined) continue;
    // Unknown is not nothing: it might be all that is missing.
    const trashBytes = await unlessFailing(() => tenant.restingBytes());
    if (trashBytes === undefined) continue;
    present.push(tenant);
    claims.push({ limits: tenant.limits, entries: outlook.snapshot.entries, plan: outlook.plan, trashBytes, nowMs });
  }
  const shares = shareOut(filesystem, claims, before);
  const times = claims.map(({ plan }) => plan.nextFreeAtMs).filter((time) => time !== null);
  return {
    filesystem,
    demands: new Map(present.map((tenant, i) => [tenant, shares[i]!])),
    nextFreeAtMs: times.length === 0 ? null : Math.min(...times),
  };
}

async function unlessFailing<R>(act: () => Promise<R>): Promise<R | undefined> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof OperatorError) return undefined;
    throw error;
  }
}

/**
 * Keeps one filesystem as free as its caches want it, by what may go of all of them together: least recently used first. What is
 * asked for are bytes as metadata says them, so the filesystem itself is asked again after each round.
 */
export class SpaceKeeper<T extends Tenant> {
  #tries: Tries = noTries;
  #inodeStep: InodeStep | undefined;
  #unmet: ReadonlyMap<T, Demand> = new Map();

  /** What stays short for a cache whatever goes, as far as the last round could tell; undefined where nothing does. */
  unmetOf(tenant: T): Demand | undefined {
    return this.#unmet.get(tenant);
  }

  /** False while another round would do no good. */
  isDue(nowMs: number): boolean {
    return nowMs >= this.#tries.nextAtMs;
  }

  /** Nothing was short when it looked last. */
  get isAtRest(): boolean {
    return this.#tries === noTries && this.#unmet.size === 0;
  }

  /**
   * One round: delete what rests, evict what is still missing, delete that, and look what came of it.
   * @param now the wall clock, ms
   * @returns whether anything was short
   */
  async round(tenants: readonly T[], now: () => number, signal?: AbortSignal): Promise<boolean> {
    const filesystem = tenants.map(viewOf).find((view) => view !== undefined);
    if (filesystem === undefined || !canHelp({ filesystem, tenants })) return this.#rest(tenants);
    for (const tenant of tenants) await unlessFailing(() => tenant.purge(signal));
    const shortage = await shortageOf(tenants, now(), this.#inodeStep);
    if (shortage === undefined) return this.#rest(tenants);
    signal?.throwIfAborted();
    const gain = await this.#meet(shortage, signal);
    this.#tries = afterTry(this.#tries, { gain, nowMs: now(), expiresAtMs: shortage.nextFreeAtMs });
    this.#unmet = unmetBy([...shortage.demands.keys()], (each, tenant) => {
      if (!isWithinCapacity(each) || shortage.demands.get(tenant)?.unmet.some(({ limit }) => limit === each.limit)) return [each];
      // After tries in vain all that is short counts as out of reach.
      return isInVain(this.#tries) ? [{ ...each, because: 'NotReclaimable' }] : [];
    });
    return true;
  }

  /** Nothing is to be done; what is beyond the capacity is short all the same. */
  #rest(tenants: readonly T[]): false {
    this.#tries = noTries;
    this.#inodeStep = undefined;
    this.#unmet = unmetBy(tenants, (each) => (isWithinCapacity(each) ? [] : [each]));
    return false;
  }

  /** @returns what was gained, as a part of what was asked for and went; undefined where nothing could be asked for */
  async #meet({ filesystem, demands }: Shortage<T>, signal: AbortSignal | undefined): Promise<number | undefined> {
    const asked = [...demands.values()];
    const askedBytes = asked.reduce((sum, { bytes }) => sum + bytes, 0);
    const askedEntries = asked.reduce((sum, { entries }) => sum + entries, 0);
    if (askedBytes === 0 && askedEntries === 0) return undefined;
    let [goneEntries, goneBytes] = [0, 0];
    for (const [tenant, demand] of demands) {
      if (demand.bytes === 0 && demand.entries === 0) continue;
      const { entries, bytes } = (await unlessFailing(() => tenant.free(demand, signal))) ?? { entries: 0, bytes: 0 };
      goneEntries += entries;
      goneBytes += bytes;
      signal?.throwIfAborted();
    }
    const after = [...demands.keys()].map(viewOf).find((view) => view !== undefined);
    if (after === undefined || goneEntries === 0) return 0;
    const gainedInodes = (after.inodesFree ?? 0) - (filesystem.inodesFree ?? 0);
    // Of a demand on 100,000 entries one pass takes out a small part, and the next goes on.
    const bytes = askedBytes === 0 ? 0 : (after.availableBytes - filesystem.availableBytes) / Math.max(1, goneBytes);
    const inodes = askedEntries === 0 ? 0 : gainedInodes / (goneEntries * (this.#inodeStep?.perEntry ?? 1));
    if (askedEntries > 0) this.#inodeStep = { perEntry: Math.max(1, gainedInodes / goneEntries), entries: goneEntries };
    return Math.max(bytes, inodes);
  }
}

/** What of that which is short now stays so, as `stays` tells it. */
function unmetBy<T extends Tenant>(tenants: Iterable<T>, stays: (short: UnreachableLimit, tenant: T) => readonly UnreachableLimit[]): ReadonlyMap<T, Demand> {
  return new Map([...tenants].flatMap((tenant) => {
    const filesystem = viewOf(tenant);
    if (filesystem === undefined) return [];
    const unmet = shortLimits(tenant.limits, filesystem).flatMap((each) => stays(each, tenant));
    return unmet.length === 0 ? [] : [[tenant, { filesystem, bytes: 0, entries: 0, unmet }] as const];
  }));
}
