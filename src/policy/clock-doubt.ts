import { formatDuration } from '../api/duration.ts';

/** What the clocks of a machine show at one moment. */
export interface ClockReading {
  /** Differs from one boot of the machine to the next. */
  readonly bootId: string;
  /** The wall clock, ms since the epoch. */
  readonly wallMs: number;
  /** Since the boot, ms, with the time in which the machine was suspended. Never jumps. */
  readonly uptimeMs: number;
}

/** Why the wall clock is doubted. */
export interface ClockDoubt {
  /** For people: `the clock was set 30d ahead`. */
  readonly why: string;
  /** How far it may be ahead, ms: what was used before looks idle for so much longer than it is. */
  readonly aheadMs: number;
}

const minuteMs = 60_000;
/** A wall clock is stepped by seconds when it is set right; more is a battery that ran out, a wrong time server, a machine that was moved. */
const jumpMs = 5 * minuteMs;
/** A reboot takes some minutes, and the last reading before it is up to ten minutes old. */
const rebootMs = 20 * minuteMs;
/** A machine without a clock of its own gets the time from the network a while after its boot. */
const justBootedMs = 10 * minuteMs;

/**
 * Whether the wall clock can be trusted, judged by what the uptime says of the time since the last reading. A jump of the clock is seen
 * exactly within one boot. Over a reboot nobody knows how long the machine was off: a gap that its uptime does not explain is doubted.
 * @param last undefined where nothing is known of before
 */
export function clockDoubt(now: ClockReading, last: ClockReading | undefined): ClockDoubt | undefined {
  if (last === undefined) return now.uptimeMs < justBootedMs ? { why: `the machine booted less than ${formatDuration(justBootedMs)} before`, aheadMs: 0 } : undefined;
  const isSameBoot = now.bootId === last.bootId && now.uptimeMs >= last.uptimeMs;
  const unexplainedMs = now.wallMs - last.wallMs - (isSameBoot ? now.uptimeMs - last.uptimeMs : now.uptimeMs);
  if (Math.abs(unexplainedMs) <= (isSameBoot ? jumpMs : rebootMs)) return undefined;
  // The two clocks are read one after the other, and a duration is rounded down.
  const size = formatDuration(Math.round(Math.abs(unexplainedMs) / minuteMs) * minuteMs);
  const why = unexplainedMs < 0 ? `the clock was set ${size} back` : isSameBoot ? `the clock was set ${size} ahead` : `the clock says that the machine was off for ${size}`;
  return { why, aheadMs: Math.max(0, unexplainedMs) };
}
