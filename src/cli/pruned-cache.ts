import { setTimeout as sleep } from 'node:timers/promises';
import type { Draft } from '../cache/draft.ts';
import type { FilesystemView, FreeSpaceCache } from '../cache/free-space.ts';
import { leavingFrom } from '../cache/leaving.ts';
import type { Outlook } from '../cache/outlook.ts';
import { Cache } from '../cache/pass.ts';
import type { PassError, PassProgress, PassReport, PurgeReport } from '../cache/report.ts';
import { evictedTally } from '../cache/report.ts';
import type { Limits, UnreachableLimit } from '../policy/limits.ts';
import type { Tally } from '../policy/plan.ts';
import { isStop } from './exit.ts';
import type { Outcome } from './outcome.ts';
import type { CacheSettings } from './passes.ts';
import { attempt } from './passes.ts';
import type { Target } from './targets.ts';

export interface PruneSettings extends CacheSettings {
  readonly restMs: number;
  readonly signal: AbortSignal;
  readonly onProgress: (target: Target, progress: PassProgress | RestProgress) => void;
  readonly onMeasured: (target: Target) => (done: number, total: number) => void;
}

/** Evicted entries rest before they are deleted. */
export interface RestProgress {
  readonly step: 'Rest';
  readonly fromMs: number;
  readonly untilMs: number;
}

/** One cache while it is pruned, and what came of it so far. The same `Cache` evicts and purges: it knows which items are its own. */
export class PrunedCache implements FreeSpaceCache, Disposable {
  readonly target: Target;
  readonly #cache: Cache;
  readonly #settings: PruneSettings;
  #outcome: Outcome;
  /** Of the last pass alone; undefined where it failed. */
  #lastPass: PassReport | undefined;
  #needsAnother = false;
  #hasEvictedNothing = false;
  #hasFreedSpace = false;
  #hasEnded = false;

  constructor(target: Target, settings: PruneSettings) {
    this.target = target;
    this.#settings = settings;
    this.#cache = new Cache(target.cache, { ...settings, onMeasured: settings.onMeasured(target) });
    this.#outcome = { target, report: undefined, errors: [] };
  }

  /** Undefined where it was stopped before there was anything to report. */
  get outcome(): Outcome | undefined {
    return this.#hasEnded ? this.#outcome : undefined;
  }

  /** Applies the limits once. */
  async pass(): Promise<void> {
    this.#lastPass = undefined;
    await this.#attempt(async (outcome) => {
      const report = await this.#cache.pass({ mode: 'Enforce', trigger: 'Manual', signal: this.#settings.signal, onProgress: this.#progress });
      this.#lastPass = report;
      return withPass(outcome, report);
    });
  }

  /** Waits as long as what the last pass evicted has to rest, deletes it, and plans once more, so that the report shows what is there. */
  async finishPass(): Promise<void> {
    const { signal, restMs } = this.#settings;
    const pass = this.#lastPass;
    this.#needsAnother = false;
    if (pass === undefined) return;
    // An entry that was found to be in use is planned around by the next pass, but one that stays locked would race for ever.
    const mayGoOn = pass.evicted.length > 0 || (pass.revived + pass.raced > 0 && !this.#hasEvictedNothing);
    this.#hasEvictedNothing = pass.evicted.length === 0;
    if (pass.purgeDueAtMs === null && !mayGoOn) return;
    await this.#attempt(async (outcome) => {
      // Until the last that was evicted has rested; `purgeDueAtMs` is when the first has.
      if (pass.purgeDueAtMs !== null) await this.#rest(pass.finishedAtMs + restMs);
      const purged = await this.#cache.purge({ signal, onProgress: this.#progress });
      const now = await this.#cache.plan({ signal });
      this.#needsAnother = now.plan.evict.length > 0 && mayGoOn;
      const { report } = outcome;
      return { ...withPurge(outcome, purged), report: report && asItIsNow(report, purged, now) };
    });
  }

  /**
   * Whether one more pass may bring the cache within its limits: entries have to go, and the last pass took some out. That these did not
   * make up for it is seen only once they are deleted: they have hard links elsewhere, or were found to be in use.
   */
  get needsAnother(): boolean {
    return this.#needsAnother && !this.#settings.signal.aborted;
  }

  get limits(): Limits {
    return this.target.cache.limits;
  }

  filesystem(): FilesystemView {
    return this.#cache.filesystem();
  }

  /** All other limits have been applied before. */
  draft(): Promise<Draft> {
    return this.#cache.draft({ trigger: 'FreeSpace', signal: this.#settings.signal });
  }

  restingBytes(): Promise<number> {
    return this.#cache.restingBytes();
  }

  async evict(planned: Outlook): Promise<Tally> {
    let gone = { entries: 0, bytes: 0 };
    await this.#attempt(async (outcome) => {
      const report = await this.#cache.pass({ mode: 'Enforce', trigger: 'FreeSpace', planned, signal: this.#settings.signal, onProgress: this.#progress });
      gone = evictedTally(report);
      this.#hasFreedSpace = true;
      return withPass(outcome, report);
    });
    await this.purge();
    return gone;
  }

  async purge(): Promise<void> {
    await this.#attempt(async (outcome) => withPurge(outcome, await this.#cache.purge({ signal: this.#settings.signal, now: true, onProgress: this.#progress })));
  }

  /** Once nothing more is evicted for free space. @param unmet what stays short on the filesystem */
  async finishFreeSpace(unmet: readonly UnreachableLimit[]): Promise<void> {
    await this.#attempt(async (outcome) => {
      const { report } = outcome;
      if (report === undefined) return outcome;
      const { plan, snapshot: after } = this.#hasFreedSpace ? await this.#cache.plan({ signal: this.#settings.signal }) : { plan: report.plan, snapshot: report.after };
      return { ...outcome, report: { ...report, after, plan: { ...plan, unreachable: [...plan.unreachable, ...unmet] }, filesystem: this.filesystem() } };
    });
  }

  /** What is still on its way out, also after a stop. */
  async addLeaving(): Promise<void> {
    if (this.#outcome.report !== undefined) this.#outcome = await attempt(this.#outcome, async () => ({ ...this.#outcome, leaving: await leavingFrom(this.target.cache, { allowedRoots: this.#settings.allowedRoots }) }));
  }

  [Symbol.dispose](): void {
    this.#cache[Symbol.dispose]();
  }

  /** What fails is part of the outcome, and hinders no other cache. What is stopped leaves the outcome as it was: the next run goes on. */
  async #attempt(act: (outcome: Outcome) => Outcome | Promise<Outcome>): Promise<void> {
    if (this.#settings.signal.aborted) return;
    try {
      this.#outcome = await attempt(this.#outcome, () => act(this.#outcome));
      this.#hasEnded = true;
    } catch (error) {
      if (!isStop(error)) throw error;
    }
  }

  async #rest(untilMs: number): Promise<void> {
    const fromMs = Date.now();
    for (let nowMs = fromMs; nowMs < untilMs; nowMs = Date.now()) {
      this.#settings.onProgress(this.target, { step: 'Rest', fromMs, untilMs });
      await sleep(Math.min(200, untilMs - nowMs), undefined, { signal: this.#settings.signal });
    }
  }

  readonly #progress = (progress: PassProgress) => this.#settings.onProgress(this.target, progress);
}

function withPass(outcome: Outcome, then: PassReport): Outcome {
  const { report: first } = outcome;
  const errors = distinct([...outcome.errors, ...then.errors]);
  if (first === undefined) return { ...outcome, report: then, errors };
  const report = {
    ...then, before: first.before, startedAtMs: first.startedAtMs, evicted: [...first.evicted, ...then.evicted], revived: first.revived + then.revived, raced: first.raced + then.raced, failed: Math.max(first.failed, then.failed),
    longestLockMs: Math.max(first.longestLockMs, then.longestLockMs), leftoversRemoved: first.leftoversRemoved + then.leftoversRemoved, errors: [...first.errors, ...then.errors],
  };
  return { ...outcome, report, errors };
}

/** What could not be evicted is named by each pass until it is tried again. */
function distinct(errors: readonly PassError[]): readonly PassError[] {
  return [...new Map(errors.map((error) => [`${error.code}/${error.entry ?? ''}/${error.message}`, error])).values()];
}

function withPurge(outcome: Outcome, then: PurgeReport): Outcome {
  const { purged: first } = outcome;
  const errors = [...outcome.errors, ...then.errors];
  if (first === undefined) return { ...outcome, purged: then, errors };
  const purged = {
    ...then, purgedEntries: first.purgedEntries + then.purgedEntries, purgedBytes: first.purgedBytes + then.purgedBytes,
    revived: first.revived + then.revived, revivedNames: [...first.revivedNames, ...then.revivedNames],
  };
  return { ...outcome, purged, errors };
}

/** A report as things stand now: entries that came back before they were deleted were not evicted in the end. */
function asItIsNow(report: PassReport, { revived, revivedNames }: PurgeReport, { snapshot, plan }: Outlook): PassReport {
  return { ...report, after: snapshot, plan, evicted: report.evicted.filter(({ name }) => !revivedNames.includes(name)), revived: report.revived + revived };
}
