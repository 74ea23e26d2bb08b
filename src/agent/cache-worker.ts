import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Draft } from '../cache/draft.ts';
import type { FilesystemView, FreeSpaceCache } from '../cache/free-space.ts';
import type { Outlook } from '../cache/outlook.ts';
import { NoRoomToBegin } from '../cache/first-space.ts';
import { Cache } from '../cache/pass.ts';
import type { PassReport, Trigger } from '../cache/report.ts';
import { evictedTally, releaseAfter } from '../cache/report.ts';
import { messageOf, OperatorError } from '../errors.ts';
import { nextAct } from '../policy/cadence.ts';
import type { Mode } from '../policy/compiled.ts';
import type { Limits } from '../policy/limits.ts';
import type { CacheState } from '../policy/node-report.ts';
import type { Tally } from '../policy/plan.ts';
import { CacheRecord } from './cache-record.ts';
import type { CacheWorkerOptions } from './cache-worker-options.ts';
import { compileFor, entriesHinted } from './compiler.ts';
import type { FreeSpaceFindings } from './look.ts';
import { essenceOf, lookOf, noFindings, withFreeSpace } from './look.ts';
import { countedUp, runSummary, withRevived } from './totals.ts';
import { Complaints, logPass } from './pass-log.ts';
import { holdsProblem, isLockBusy, problemOf } from './problems.ts';
import { rootMark } from './root-mark.ts';

/** One stat of the root a second is how a change is noticed. */
const defaultTickMs = 1_000;
/** A cache that fails is looked at again this soon: what is in the way may go without a change of the root. */
const failingLookMs = 5_000;
/** A scheduled run that could not work is tried again for this long. */
const missedAfterMs = 10 * 60_000;
/** A prune by hand waits for two settles; what holds the lock longer than this is stuck, or a second agent. */
const busyIsProblemMs = 120_000;
const purgeRetryMs = 60_000;
/** The index of 100,000 entries is a file of 16 MiB. */
const saveEveryMs = 10 * 60_000;

/** One cache of the policy in force on this node: applies limits or looks when it is time to, and knows the state a report is made of. */
export class CacheWorker implements FreeSpaceCache, Disposable {
  readonly #options: CacheWorkerOptions;
  readonly #cache: Cache;
  readonly #record: CacheRecord;
  readonly #complaints = new Complaints();
  /** When the schedule is due, or was and could not work yet. */
  #dueAtMs: number | null;
  #retryAtMs = 0;
  #first = true;
  #rootMark: string | undefined;
  #lastLook = { endedAtMs: 0, tookMs: 0 };
  #expiresAtMs: number | null = null;
  #purgeDueAtMs: number | null = 0;
  #busySinceMs: number | undefined;
  #unfinished = false;
  /** Entries share files: what an eviction gives shows only when the evicted entries are deleted. */
  #isLinked = false;
  #lastRunEvictedOnSchedule = false;
  #freeSpace: FreeSpaceFindings = noFindings;
  /** One thing after another: its own ticks, and what is done for the sake of the filesystem. */
  #turn: Promise<unknown> = Promise.resolve();
  #savedAtMs = Date.now();
  #state: Pick<CacheState, 'look' | 'lastRun' | 'problem'>;

  constructor(options: CacheWorkerOptions) {
    const { spec, allowedRoots, settleMs, restMs, mostAtOnce = Infinity, room, previous } = options;
    this.#options = options;
    this.#cache = new Cache(spec, { allowedRoots, mostAtOnce, room, remembers: true, ...(settleMs !== undefined && { settleMs }), ...(restMs !== undefined && { restMs }) });
    this.#record = new CacheRecord(options);
    this.#dueAtMs = options.nextDueAtMs(Date.now());
    this.#state = { look: previous?.look, lastRun: previous?.lastRun, problem: previous?.problem };
  }

  get state(): CacheState {
    const { name, limits } = this.#options.spec;
    const { look, ...state } = this.#state;
    return { name, limits, totals: this.#record.totals, countedBefore: this.#record.countedBefore, ...state, look: look && withFreeSpace(look, this.#freeSpace) };
  }

  /** True once something is known under this policy: figures, or why there are none. */
  get hasLooked(): boolean {
    return !this.#first;
  }

  /** Works until the signal comes. @param onChange called after everything that may have changed the state */
  async run(signal: AbortSignal, onChange: () => void): Promise<void> {
    const { tickMs = defaultTickMs } = this.#options;
    while (!signal.aborted) {
      if (await this.tick(Date.now(), signal)) onChange();
      await sleep(tickMs, undefined, { signal }).catch(() => undefined);
    }
    await this.#alone(() => this.#save({ least: 1 }));
  }

  /** @returns true where the state may have changed */
  async tick(nowMs: number, signal: AbortSignal): Promise<boolean> {
    return await this.#alone(() => this.#tick(nowMs, signal));
  }

  async #tick(nowMs: number, signal: AbortSignal): Promise<boolean> {
    this.#record.recall();
    this.#dropMissedRun(nowMs);
    const enforced = this.isEnforced;
    // First, also beside a cache that always has something to do: what was evicted gives its space back only now.
    const purges = enforced && !this.#first && this.#purgeIsDue(nowMs);
    if (purges) await this.#purge({ signal });
    const act = nextAct({
      nowMs, enforced, dueAtMs: this.#dueAtMs === null ? null : Math.max(this.#dueAtMs, this.#retryAtMs), first: this.#first,
      rootChanged: rootMark(this.#options.spec.root) !== this.#rootMark || this.#cache.index?.mayHaveChanged === true, lastLook: this.#lastLook, expiresAtMs: this.#expiresAtMs,
    });
    if (act.act === 'run') await this.#look('Enforce', act.trigger, nowMs, signal);
    else if (act.act === 'look') await this.#look('DryRun', 'Change', nowMs, signal);
    if (nowMs - this.#savedAtMs >= saveEveryMs) await this.#save();
    return act.act !== 'rest' || purges;
  }

  async #alone<T>(act: () => Promise<T>): Promise<T> {
    const acting = this.#turn.then(act);
    this.#turn = acting.catch(() => undefined);
    return await acting;
  }

  get limits(): Limits {
    return this.#options.spec.limits;
  }

  get name(): string {
    return this.#options.spec.name;
  }

  filesystem(): FilesystemView {
    return this.#cache.filesystem();
  }

  /** Where entries may be evicted for free space, for that alone: all other limits have their own time. Else as every look plans. */
  async draft({ signal }: { readonly signal?: AbortSignal | undefined }): Promise<Draft> {
    return await this.#alone(() => this.#cache.draft({ trigger: this.isEnforced ? 'FreeSpace' : 'Change', signal }));
  }

  async restingBytes(): Promise<number> {
    return await this.#cache.restingBytes();
  }

  /** @throws OperatorError where the cache fails, as its next look will say */
  async evict(planned: Outlook, signal?: AbortSignal): Promise<Tally> {
    return await this.#alone(async () => {
      const report = await this.#cache.pass({ mode: 'Enforce', trigger: 'FreeSpace', planned, signal });
      this.#options.witness?.passed(this.#options.spec.name, report);
      this.#state = { ...this.#state, lastRun: runSummary(report) };
      this.#count(report);
      // The figures of all limits come with the next look, which is due.
      this.#expiresAtMs = 0;
      await this.#purge({ signal, now: true });
      return evictedTally(report);
    });
  }

  async purge(signal?: AbortSignal): Promise<void> {
    await this.#alone(() => this.#purge({ signal, now: true }));
  }

  /** What the state says of free space from now on. @returns whether that is news */
  reportFreeSpace(findings: FreeSpaceFindings): boolean {
    const isNews = !isDeepStrictEqual(essenceOf(findings), essenceOf(this.#freeSpace));
    this.#freeSpace = findings;
    // The figures of the filesystem come with the next look.
    if (isNews) this.#expiresAtMs = 0;
    return isNews;
  }

  /** Anything else than this changes nothing below the root. */
  get isEnforced(): boolean {
    const { accepted, mode } = this.#options.policy;
    return accepted && mode === 'Enforce' && this.#record.allowsEnforcing;
  }

  /** A run that could not work for so long is not made up for outside its hours: it waits for the next one. */
  #dropMissedRun(nowMs: number): void {
    if (this.#dueAtMs === null || nowMs - this.#dueAtMs <= missedAfterMs) return;
    this.#options.log.warn({ cache: this.#options.spec.name, dueAt: new Date(this.#dueAtMs).toISOString() }, 'a scheduled run was missed');
    this.#dueAtMs = this.#options.nextDueAtMs(nowMs);
  }

  async #look(mode: Mode, trigger: Trigger, nowMs: number, signal: AbortSignal): Promise<void> {
    // Taken before the look: what changes during it is looked at again.
    const mark = rootMark(this.#options.spec.root);
    const before = performance.eventLoopUtilization();
    compileFor(this.#state.look?.stats.entryCount ?? entriesHinted(this.#options.spec.root));
    try {
      this.#take(await this.#cache.pass({ mode, trigger, signal }), mode);
      this.#busySinceMs = undefined;
    } catch (error) {
      if (signal.aborted) return;
      if (isLockBusy(error)) await this.#lookBeside(error, nowMs, signal);
      else this.#fail(error);
    }
    this.#rootMark = mark;
    const wasFirst = this.#first;
    this.#first = false;
    if (trigger === 'Schedule') this.#scheduleNext(nowMs);
    // What it cost, without the settles it waited for: a pass that evicts is no reason to rest for long. Nor is the first, which reads what others remember, or one that others have to finish.
    this.#lastLook = { endedAtMs: Date.now(), tookMs: wasFirst || this.#unfinished ? 0 : performance.eventLoopUtilization(before).active };
  }

  /** A run that was due while something stood in its way is tried again, within its hour. */
  #scheduleNext(nowMs: number): void {
    const failed = this.#state.problem !== undefined || this.#busySinceMs !== undefined;
    if (failed) this.#retryAtMs = nowMs + failingLookMs;
    else if (this.#unfinished) this.#dueAtMs = nowMs;
    else this.#dueAtMs = this.#options.nextDueAtMs(nowMs);
  }

  #take(report: PassReport, mode: Mode): void {
    this.#options.witness?.passed(this.#options.spec.name, report);
    const problem = holdsProblem(report);
    this.#tellExpiredPins(report.plan.expiredPins.length);
    this.#state = { look: lookOf(report), lastRun: mode === 'Enforce' ? runSummary(report) : this.#state.lastRun, problem };
    this.#unfinished = report.unfinished;
    this.#expiresAtMs = report.unfinished ? 0 : problem === undefined ? report.plan.expiresAtMs : Date.now() + failingLookMs;
    this.#isLinked = report.before.linked !== undefined;
    if (mode !== 'Enforce') return;
    this.#lastRunEvictedOnSchedule = report.trigger === 'Schedule' && report.evicted.length > 0;
    this.#count(report);
  }

  #count(report: PassReport): void {
    this.#purgeDueAtMs = report.purgeDueAtMs;
    logPass(this.#options.log, { ...report, errors: this.#complaints.newIn(report.errors), clockDoubt: this.#complaints.newDoubt(report.clockDoubt) });
    this.#record.count((totals) => countedUp(totals, report));
    releaseAfter(report);
  }

  /** Another process evicts here, such as a prune by hand: this pass is left out. Only one that does not end is a problem. */
  async #lookBeside(busy: OperatorError, nowMs: number, signal: AbortSignal): Promise<void> {
    this.#busySinceMs ??= nowMs;
    try {
      this.#take(await this.#cache.pass({ mode: 'DryRun', trigger: 'Change', signal }), 'DryRun');
      if (nowMs - this.#busySinceMs >= busyIsProblemMs) this.#state = { ...this.#state, problem: problemOf(busy) };
      this.#expiresAtMs = Date.now() + failingLookMs;
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
  }

  /** Nothing is known any more: old figures under a new failure would look like present ones. */
  #fail(error: unknown): void {
    const problem = problemOf(error, this.#record.totals.evictedEntries);
    if (problem.message !== this.#state.problem?.message) this.#options.log.warn({ cache: this.#options.spec.name, reason: problem.reason }, error instanceof NoRoomToBegin ? messageOf(error) : problem.message);
    this.#state = { look: undefined, lastRun: this.#state.lastRun, problem };
    this.#expiresAtMs = Date.now() + failingLookMs;
  }

  #purgeIsDue(nowMs: number): boolean {
    return this.#state.problem === undefined && this.#purgeDueAtMs !== null && nowMs >= this.#purgeDueAtMs;
  }

  /** What keeps a purge from working is met by the next look as well, and then stands in the status. */
  async #purge(options: { signal?: AbortSignal | undefined; now?: boolean }): Promise<void> {
    const { log, spec } = this.#options;
    try {
      const purged = await this.#cache.purge(options);
      this.#options.witness?.purged(spec.name, purged);
      this.#purgeDueAtMs = purged.nextDueAtMs;
      if (purged.purgedEntries > 0 && this.#isLinked) {
        // Where the limits do not hold yet, the next pass follows at once; a scheduled one that evicted something is continued.
        [this.#expiresAtMs, this.#dueAtMs] = [0, this.#lastRunEvictedOnSchedule ? Date.now() : this.#dueAtMs];
      }
      for (const each of purged.errors) log.warn({ cache: spec.name, code: each.code, entry: each.entry }, each.message);
      if (purged.revived > 0) this.#record.count((totals) => withRevived(totals, purged.revived));
      if (purged.purgedEntries > 0) log.info({ cache: spec.name, entries: purged.purgedEntries, bytes: purged.purgedBytes }, 'purged');
    } catch (error) {
      if (options.signal?.aborted) return;
      this.#purgeDueAtMs = Date.now() + purgeRetryMs;
      log.warn({ cache: spec.name, err: error }, `what was evicted could not be deleted yet: ${messageOf(error)}`);
    }
  }

  /** So that the next start reads little. What cannot be saved is no reason to stop: the next start reads more, or it is saved later. */
  async #save(options?: { least: number }): Promise<void> {
    this.#savedAtMs = Date.now();
    if (!this.isEnforced || !this.#cache.isWorthSaving(options)) return;
    try {
      await this.#cache.save(options);
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      this.#options.log.info({ cache: this.#options.spec.name, code: error.code }, `what is remembered was not saved: ${error.message}`);
    }
  }

  /** Once; which they are stands in the policy. */
  #tellExpiredPins(count: number): void {
    if (count > (this.#state.look?.expiredPins ?? 0)) this.#options.log.warn({ cache: this.#options.spec.name, pins: count }, 'pins have expired and hold nothing any more');
  }

  [Symbol.dispose](): void {
    this.#cache[Symbol.dispose]();
  }
}
