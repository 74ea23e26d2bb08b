import type { Dir } from '../disk/dir.ts';
import { DirWatch } from '../disk/dir-watch.ts';
import type { RootIdentity } from '../disk/pinned-root.ts';
import { identityOf, isSameRoot } from '../disk/pinned-root.ts';
import type { Slices } from '../disk/slices.ts';
import type { Stat } from '../disk/stat.ts';
import { msOf } from '../disk/stat.ts';
import type { Snapshot } from '../policy/snapshot.ts';
import type { PreviousScan, ScanOptions, StoreFormat } from './formats/format.ts';
import type { IndexPlace } from './index-file.ts';
import { loadIndex, saveIndex } from './index-file.ts';
import type { Clock } from './site.ts';

/** The kernel's change times are some milliseconds coarse, and a clock may be stepped a little. What is younger may change unseen. */
const settleMs = 2_000;
/** All names and stamps are looked at this often, whatever the signs say: the signs are a hint, this is the truth. */
const fullLookEveryMs = 60_000;
/** What that costs stays below a thousandth of a core, but it is never put off for longer than this. */
const fullLookRest = 1_000;
const fullLookPutOffMs = 15 * 60_000;

/**
 * What the last scan of one root found, so that the next reads only what changed: an entry whose name did not change and whose
 * metadata file has the stamp it had. Which names those are is heard from a watch of the root, where one is to be had; without it a
 * root whose own change time stands still has not changed.
 *
 * A hint: whoever acts on an entry looks at it again. The entries of a snapshot stand until the next scan, unless it was lent.
 */
export class CacheIndex implements Disposable {
  readonly #format: StoreFormat;
  readonly #clock: Clock;
  #watch: DirWatch | undefined;
  #root: RootIdentity | undefined;
  #snapshot: Snapshot | undefined;
  /** What changed before this is known as it is. */
  #settledAtMs = 0;
  #isLent = false;
  #rootChangedNs = 0n;
  #lookedAtMs = 0;
  #fullLookDueMs = 0;
  /** How many files were read since the index was saved. */
  #unsaved = 0;

  constructor(format: StoreFormat, clock: Clock) {
    this.#format = format;
    this.#clock = clock;
  }

  [Symbol.dispose](): void {
    this.#forget();
  }

  /** Whether another scan may find something else: as far as it was heard, or because a change may still hide behind the last one. */
  get mayHaveChanged(): boolean {
    if (this.#watch !== undefined) return this.#watch.drain();
    return this.#snapshot !== undefined && Math.abs(this.#settledForMs) < settleMs;
  }

  /** @throws what the format's scan throws; then everything is read by the next */
  async scan(root: Dir, options: Omit<ScanOptions, 'previous'>): Promise<Snapshot> {
    const startedMs = this.#clock.monotonicMs();
    const stat = root.stat();
    // What changes from here on is heard by the next scan: the watch stands before anything is read.
    if (this.#root === undefined || !isSameRoot(this.#root, stat)) this.#takeUp(root);
    const previous = await this.#previous(root, stat, options);
    try {
      this.#snapshot = await this.#format.scan(root, { ...options, previous });
    } catch (error) {
      this.#forget();
      options.room?.giveBack(root.path);
      throw error;
    }
    if (previous?.snapshot.entries.columns !== this.#snapshot.entries.columns) {
      if (!this.#isLent) previous?.snapshot.entries.release();
      this.#isLent = false;
    }
    this.#unsaved += this.#snapshot.filesRead;
    this.#lookedAtMs = options.nowMs;
    this.#rootChangedNs = stat.changedNs;
    if (previous?.changed === undefined) {
      this.#settledAtMs = options.nowMs - settleMs;
      const nowMs = this.#clock.monotonicMs();
      this.#fullLookDueMs = nowMs + Math.min(fullLookPutOffMs, Math.max(fullLookEveryMs, fullLookRest * (nowMs - startedMs)));
    }
    return this.#snapshot;
  }

  /** Whoever has the last snapshot goes on with it beside the next scan: its rows stay. */
  lend(): void {
    this.#isLent = true;
  }

  /** Whether it pays to save it: a start from what was saved would read one file in a hundred, or more. @param least 1: whatever changed */
  isWorthSaving({ least = Math.ceil((this.#snapshot?.entries.length ?? 0) / 100) } = {}): boolean {
    return this.#unsaved > 0 && this.#unsaved >= least;
  }

  /** To be called under the pass lock. @throws ERR_DISK_IO, ERR_DISK_FULL; then what was saved before stands */
  async save({ root, own }: IndexPlace, slices: Slices): Promise<void> {
    if (this.#snapshot === undefined || this.#root === undefined || !isSameRoot(this.#root, root.stat())) return;
    const unsaved = this.#unsaved;
    const { entries, damaged, leftovers, unrecognised } = this.#snapshot;
    const isAllEntries = damaged.length + leftovers.length + unrecognised.length === 0;
    const rootChangedNs = isAllEntries && this.#settledForMs >= settleMs ? this.#rootChangedNs : null;
    await saveIndex({ root, own }, { format: this.#format.name, settledAtMs: this.#settledAtMs, entries, rootChangedNs }, slices);
    this.#unsaved -= unsaved;
  }

  #takeUp(root: Dir): void {
    this.#forget();
    this.#root = identityOf(root);
    this.#watch = DirWatch.on(root);
  }

  #forget(): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
    this.#root = undefined;
    this.#snapshot = undefined;
    this.#unsaved = 0;
    this.#fullLookDueMs = 0;
  }

  async #previous(root: Dir, stat: Stat, { slices, nowMs, own }: Omit<ScanOptions, 'previous'>): Promise<PreviousScan | undefined> {
    const heard = this.#heard(root, stat);
    if (this.#snapshot === undefined) return await savedScan(root, this.#format, { slices, nowMs, own, trustsRoot: false });
    const isDue = this.#clock.monotonicMs() >= this.#fullLookDueMs;
    return { snapshot: this.#snapshot, settledAtMs: this.#settledAtMs, changed: isDue ? undefined : heard };
  }

  /** Names that may have changed; undefined where any may. */
  #heard(root: Dir, stat: Stat): ReadonlySet<string> | undefined {
    if (this.#watch !== undefined) {
      const names = this.#watch.take();
      if (!this.#watch.isOver) return names;
      this.#watch[Symbol.dispose]();
      this.#watch = DirWatch.on(root);
      return undefined;
    }
    return this.#settledForMs >= settleMs && stat.changedNs === this.#rootChangedNs ? new Set() : undefined;
  }

  /** How long the root had not changed when it was looked at last; negative where the clock was set back since. */
  get #settledForMs(): number {
    return this.#lookedAtMs - msOf(this.#rootChangedNs);
  }
}

/**
 * The last scan that an agent saved, as the start of another one.
 * @param options trustsRoot: a root whose change time is still the saved one holds what it held then, because the runtime renames what it
 * writes. A metadata file that somebody wrote in place is not seen, so this is for commands that evict nothing; else every stamp is compared.
 */
export async function savedScan(
  root: Dir, format: StoreFormat, { slices, nowMs, own, trustsRoot }: Pick<ScanOptions, 'slices' | 'nowMs' | 'own'> & { readonly trustsRoot: boolean },
): Promise<PreviousScan | undefined> {
  const { changedNs } = root.stat();
  const saved = own && (await loadIndex({ root, own }, format.name, slices));
  if (saved === undefined) return undefined;
  const { entries, settledAtMs, rootChangedNs } = saved;
  const snapshot = { takenAtMs: nowMs, entries, damaged: [], leftovers: [], unrecognised: [], filesRead: 0 };
  return { snapshot, settledAtMs, changed: trustsRoot && rootChangedNs === changedNs ? new Set() : undefined };
}
