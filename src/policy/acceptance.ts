import type { CachePolicy } from '../api/cachepolicy.gen.ts';
import type { conditionReasons } from '../api/conditions.ts';
import type { Territory } from '../api/paths.ts';
import { placeOf } from '../api/cache-place.ts';
import { allowedRootOf, contains, overlap } from '../api/paths.ts';
import { parseDuration } from '../api/duration.ts';
import { parseQuantity } from '../api/quantity.ts';

/** Why a policy that the API server took is not in force. */
export interface Refusal {
  readonly reason: Exclude<(typeof conditionReasons)['Accepted'][number], 'Accepted' | 'Conflicted'>;
  /** Where, as in `spec.caches[0].a3sBox.home`. */
  readonly field: string;
  /** A sentence: the value, what is wrong, what to write instead. */
  readonly message: string;
}

/** What keeps a policy by itself from being in force; empty where nothing does. The controller and the command line say the same. */
export async function refusals({ spec }: CachePolicy, allowedRoots: readonly string[]): Promise<Refusal[]> {
  return [...(await scheduleRefusals(spec)), ...pathRefusals(spec, allowedRoots), ...overlapRefusals(spec)];
}

async function scheduleRefusals({ schedule }: CachePolicy['spec']): Promise<Refusal[]> {
  if (schedule === undefined) return [];
  // Costs 7 MiB, so only where there is one.
  const { scheduleProblem } = await import('./schedule.ts');
  const problem = scheduleProblem({ ...schedule, jitterMs: parseDuration(schedule.jitter) ?? 0 });
  return problem ? [{ reason: 'InvalidSchedule', field: `spec.schedule.${problem.field}`, message: problem.message }] : [];
}

function pathRefusals({ caches }: CachePolicy['spec'], allowedRoots: readonly string[]): Refusal[] {
  return caches.flatMap((cache, i) =>
    Object.entries(placeOf(cache).paths).flatMap(([field, path]) => {
      if (allowedRootOf(path, allowedRoots) !== undefined) return [];
      const message = `${path} is not strictly below an allowed root; allowed are ${allowedRoots.join(', ') || 'none'}`;
      return [{ reason: 'PathNotAllowed' as const, field: `spec.caches[${i}].${field}`, message }];
    }));
}

function overlapRefusals({ caches }: CachePolicy['spec']): Refusal[] {
  const places = caches.map(placeOf);
  return places.flatMap((one, i) => {
    const field = `spec.caches[${i}].${one.rootField.join('.')}`;
    const itself = one.home !== null && contains(one.root, one.home) ? [`the home ${one.home} would be among the entries of ${one.root}; choose a cacheDir apart from the home`] : [];
    const other = places.findIndex((candidate, j) => j < i && overlap(candidate, one));
    const others = other === -1 ? [] : [`${one.root} and ${places[other]?.root} (cache ${caches[other]?.name}) ${howTheyMeet(one, places[other])}`];
    return [...itself, ...others].map((message) => ({ reason: 'InvalidCaches', field, message }));
  });
}

function howTheyMeet(one: Territory, other: Territory | undefined): string {
  const within = other !== undefined && (contains(one.root, other.root) || contains(other.root, one.root));
  if (within) return 'lie within one another; two caches may not share a directory';
  const stray = one.home === null || other?.home === null;
  return `do not go together: ${stray ? 'one lies in the home of the other, or holds it' : 'the home of one would be among the entries of the other'}`;
}

/** The A3S Box runtime prunes its rootfs store to these whenever it stores a new entry. */
const runtimeMaxEntries = 10;
const runtimeMaxBytes = 10 * 2 ** 30;

/** What is in force and yet may not do what its author expects. */
export function acceptanceNotes({ spec }: CachePolicy, nowMs: number): string[] {
  return spec.caches.flatMap((cache) => [...runtimeNotes(cache), ...pinNotes(cache, nowMs)]);
}

type CacheSpec = CachePolicy['spec']['caches'][number];

/** Names no key and no image: whoever may read a status may not know them. */
function pinNotes({ name, protect }: CacheSpec, nowMs: number): string[] {
  return (protect.keep ?? []).flatMap(({ until }, i) => {
    if (until === undefined || nowMs < Date.parse(until)) return [];
    return [`${name}: protect.keep[${i}] expired at ${until} and holds nothing any more`];
  });
}

function runtimeNotes({ name, a3sBox, limits }: CacheSpec): string[] {
  if (a3sBox?.store !== 'Rootfs' || [limits.maxIdle, limits.minFree, limits.minFreeInodes].some((limit) => limit !== undefined)) return [];
  const entriesMatter = limits.maxEntries !== undefined && limits.maxEntries < runtimeMaxEntries;
  const bytesMatter = limits.maxBytes !== undefined && (parseQuantity(limits.maxBytes) ?? 0) < runtimeMaxBytes;
  if (entriesMatter || bytesMatter) return [];
  return [`${name}: the runtime itself keeps at most 10 entries and 10Gi; limits at or above that change nothing`];
}
