import { OperatorError } from '../errors.ts';
import type { ClockReading } from '../policy/clock-doubt.ts';
import { clockDoubt } from '../policy/clock-doubt.ts';
import type { CompiledCache } from '../policy/compiled.ts';
import type { ClockRecord } from './clock-record.ts';
import { readClockRecord, writeClockRecord } from './clock-record.ts';
import { withoutTime } from './outlook.ts';
import type { PassError } from './report.ts';
import type { Clock } from './site.ts';
import { note } from './site.ts';
import type { MemoryPlace } from './state.ts';

/** So many passes go without a clock that is doubted, and all within this time: whoever set it wrong may set it right. */
const doubtedPasses = 2;
const doubtedMs = 10 * 60_000;
/** How old the last reading may be that a process leaves behind. */
const saveEveryMs = 10 * 60_000;

/** Who asks: a pass that may evict, one that only looks, or one for free space alone, which comes as often as it likes. */
export type Asker = 'Pass' | 'Look' | 'FreeSpace';

interface Doubt extends NonNullable<ClockRecord['doubt']> {
  readonly looks: number;
}

/**
 * Compares the wall clock with the uptime of the machine, also over restarts: the last reading is kept in our folder. While the clock is
 * doubted nothing is known of how long an entry was idle: a clock that is a month ahead would make every entry too old at once.
 *
 * Passes and looks are counted apart: however often a cache is looked at between two scheduled passes, the next two of these go without.
 */
export class ClockWatch {
  readonly #clock: Clock;
  readonly #place: MemoryPlace;
  #isLoaded = false;
  #hidesTime = false;
  #last: ClockReading | undefined;
  #doubt: Doubt | undefined;
  #saved: { readonly atUptimeMs: number; readonly passes: number } | undefined;

  constructor(clock: Clock, place: MemoryPlace) {
    this.#clock = clock;
    this.#place = place;
  }

  /** What a plan goes by: the limits and the time. To be asked once a pass, look or try. @throws ERR_ROOT_*, ERR_DISK_IO */
  terms(asker: Asker, spec: CompiledCache): Pick<CompiledCache, 'limits' | 'protect'> & { readonly nowMs: number } {
    const isTrusted = this.isTrusted(asker);
    const goesByTime = spec.limits.maxIdleMs !== null || spec.protect.keep.some(({ untilMs }) => untilMs !== null);
    this.#hidesTime = !isTrusted && goesByTime;
    const { limits, protect } = isTrusted ? spec : withoutTime(spec);
    return { limits, protect, nowMs: this.#clock.now() - (isTrusted ? 0 : (this.#doubt?.aheadMs ?? 0)) };
  }

  /** Why the last terms leave out what goes by time, for people; undefined where they do not, or nothing does. */
  get whyDoubted(): string | undefined {
    return this.#hidesTime ? this.#doubt?.why : undefined;
  }

  /** To be asked once a pass, look or try. @returns false where the wall clock is doubted @throws ERR_ROOT_*, ERR_DISK_IO */
  isTrusted(asker: Asker): boolean {
    const now = this.#reading();
    if (!this.#isLoaded) this.#load(now);
    const doubt = clockDoubt(now, this.#last);
    // A machine that is off most of the time has a gap at each start: what is doubted already is not doubted for longer.
    const isNews = doubt !== undefined && (this.#doubt === undefined || now.bootId === this.#last?.bootId);
    if (isNews) this.#doubt = { ...doubt, passes: doubtedPasses, looks: doubtedPasses, untilUptimeMs: now.uptimeMs + doubtedMs };
    this.#last = now;
    if (this.#doubt === undefined) return true;
    const { passes, looks, untilUptimeMs } = this.#doubt;
    // A pass looks, too; free space only goes by what is known.
    const left = asker === 'Pass' ? passes : looks;
    if (left === 0 && now.uptimeMs >= untilUptimeMs) {
      if (passes === 0) this.#doubt = undefined;
      return true;
    }
    this.#doubt = { ...this.#doubt, passes: Math.max(0, passes - (asker === 'Pass' ? 1 : 0)), looks: Math.max(0, looks - (asker === 'FreeSpace' ? 0 : 1)) };
    return false;
  }

  get isSaveDue(): boolean {
    const saved = this.#saved;
    return saved === undefined || saved.passes !== (this.#doubt?.passes ?? 0) || Math.abs(this.#clock.uptimeMs() - saved.atUptimeMs) >= saveEveryMs;
  }

  /** Keeps the last reading for the next process. Under the pass lock. @throws ERR_ROOT_*, ERR_DISK_IO, ERR_DISK_FULL */
  save(): void {
    const last = this.#reading();
    const { looks: _, ...doubt } = this.#doubt ?? { looks: 0, passes: 0 };
    writeClockRecord(this.#place, { last, doubt: 'why' in doubt ? doubt : null });
    this.#saved = { atUptimeMs: last.uptimeMs, passes: doubt.passes };
  }

  /** The same after a pass, of which a failure is part. */
  saveWhereDue(errors: PassError[]): void {
    if (!this.isSaveDue) return;
    try {
      this.save();
    } catch (error) {
      // On a full disk the one before stands until there is space.
      if (!(error instanceof OperatorError) || error.code !== 'ERR_DISK_FULL') note(errors, error);
    }
  }

  #load(now: ClockReading): void {
    const record = readClockRecord(this.#place);
    this.#isLoaded = true;
    this.#last = record?.last;
    if (record === undefined || record.doubt === null) return;
    const { last, doubt } = record;
    const passes = Math.min(doubt.passes, doubtedPasses);
    // What is left of the time goes on with the uptime of this boot.
    const untilUptimeMs = now.bootId === last.bootId ? doubt.untilUptimeMs : doubt.untilUptimeMs - last.uptimeMs;
    this.#doubt = { ...doubt, passes, looks: passes, untilUptimeMs: Math.min(untilUptimeMs, now.uptimeMs + doubtedMs) };
  }

  #reading(): ClockReading {
    return { bootId: this.#clock.bootId(), wallMs: this.#clock.now(), uptimeMs: this.#clock.uptimeMs() };
  }
}
