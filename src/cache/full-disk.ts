import { shown } from '../disk/disk-error.ts';
import { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import { evictedOf, plannedVictims, without } from './aftermath.ts';
import { fileToDelete, makeFirstSpace, NoRoomToBegin } from './first-space.ts';
import { tellEvicted } from './journal.ts';
import type { Outlook, PassOutcome } from './outlook.ts';
import { lookedAt } from './outlook.ts';
import { lockPasses, openOwn } from './own-folder.ts';
import type { OwnPlace } from './own-search.ts';
import type { EvictedEntry, PassError, Trigger } from './report.ts';
import type { Reserve } from './reserve.ts';
import type { Ground } from './site.ts';
import { lockSweep } from './sweep-hidden.ts';

/** What came of an attempt to make the first space. */
interface Space {
  readonly isAny: boolean;
  readonly evicted: readonly EvictedEntry[];
  readonly errors: readonly PassError[];
  /** The cache as it stands now, without what is gone. */
  readonly outcome: PassOutcome;
  /** Why there is none, where victims there are. */
  readonly stuck: OperatorError | undefined;
}

/**
 * Enforces in the ordinary order. Where a full disk does not let it begin, space is made first (first-space.ts), twice as many victims each time.
 * @throws ERR_NO_ROOM_TO_BEGIN, ERR_DISK_FULL; and what enforcing throws
 */
export async function enforceOnAnyDisk(enforce: () => Promise<PassOutcome>, fullDisk: () => FullDisk): Promise<PassOutcome> {
  const before: Before = { evicted: [], errors: [] };
  let last: PassOutcome | undefined;
  for (let most = 1; ; most *= 2) {
    const attempt = await unlessFull(enforce);
    if (!(attempt instanceof OperatorError)) return await joined(before, attempt);
    const disk = fullDisk();
    const space = await makeSpace(disk, most);
    if (last === undefined && !space.isAny) disk.ground.signal?.throwIfAborted();
    before.evicted.push(...space.evicted);
    before.errors.push(...space.errors);
    if (space.isAny) {
      last = space.outcome;
      continue;
    }
    const { code, message } = space.stuck ?? attempt;
    if (last === undefined) throw space.stuck ?? attempt;
    return { ...last, evicted: before.evicted, errors: [...last.errors, ...before.errors, { code, message }] };
  }
}

/** What came of making space, before the ordinary order. */
interface Before {
  readonly evicted: EvictedEntry[];
  readonly errors: PassError[];
}

/** What was planned before the space was made may still have the first ones. */
async function joined({ evicted, errors }: Before, then: PassOutcome): Promise<PassOutcome> {
  if (evicted.length + errors.length === 0) return then;
  const gone = evicted.map(({ name }) => ({ name, entry: undefined }));
  const after = await without(then.after, { gone, leftoversGone: new Set(), slices: new Slices() });
  return { ...then, evicted: [...evicted, ...then.evicted], errors: [...errors, ...then.errors], after };
}

/** @returns the error where the disk was too full for anything to begin */
async function unlessFull(enforce: () => Promise<PassOutcome>): Promise<PassOutcome | OperatorError> {
  try {
    const outcome = await enforce();
    const full = outcome.errors.find(({ code, entry }) => code === 'ERR_DISK_FULL' && entry !== undefined);
    const isStuck = full !== undefined && outcome.evicted.length === 0 && outcome.plan.evict.length > 0 && !outcome.stopped;
    return isStuck ? new OperatorError(full.code, full.message) : outcome;
  } catch (error) {
    if (error instanceof OperatorError && error.code === 'ERR_DISK_FULL') return error;
    throw error;
  }
}

/** What the first space is made with. */
export interface FullDisk {
  readonly ground: Ground;
  readonly plan: (ground: Ground) => Promise<Outlook>;
  readonly reserve: Reserve;
  readonly mostAtOnce: number;
  readonly trigger: Trigger;
}

async function makeSpace({ ground, plan, reserve, mostAtOnce, trigger }: FullDisk, most: number): Promise<Space> {
  const { clock, settleMs, signal, root, errors } = ground;
  using _lock = lockFullDisk(ground.place);
  reserve.remove(ground.place);
  const outlook = await plan(ground);
  const slices = new Slices();
  const victims = await plannedVictims(outlook.plan, { most: mostAtOnce, isDue: () => true });
  const { gone, tidied } = await makeFirstSpace(ground, victims, most);
  const evicted = await evictedOf({ gone }, outlook.snapshot, slices);
  tellEvicted(ground, evicted, trigger);
  const isAny = tidied || gone.length > 0;
  // xfs gives space back a moment after the call.
  if (isAny) await clock.sleep(settleMs, signal);
  const after = await without(outlook.snapshot, { gone, leftoversGone: new Set(), slices });
  const stuck = isAny || signal?.aborted || victims[0] === undefined ? undefined : new NoRoomToBegin(shown(root.path), fileToDelete(ground, victims[0]));
  return { isAny, evicted, errors, outcome: { ...lookedAt(outlook), after, stopped: signal?.aborted === true }, stuck };
}

/** Excludes every other pass and every other sweep (sweep-hidden.ts), as far as the lock of passes is there. @throws ERR_LOCK_BUSY */
function lockFullDisk(place: OwnPlace): Disposable {
  using scope = new DisposableStack();
  scope.use(lockSweep(place.root));
  try {
    using own = openOwn(place);
    scope.use(lockPasses(own, place.root));
  } catch (error) {
    if (!(error instanceof OperatorError) || error.code !== 'ERR_DISK_FULL') throw error;
  }
  return scope.move();
}
