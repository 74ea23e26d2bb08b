import { createHash } from 'node:crypto';
import type { CronExpression } from 'cron-parser';
import { CronExpressionParser } from 'cron-parser';
import { messageOf } from '../errors.ts';
import type { Schedule } from './compiled.ts';
import { instantOf, isTimeZone, wallClockOf } from './wall-clock.ts';

// cron-parser and time zones cost 7 MiB: import this file only where a schedule is set.

const hourMs = 3_600_000;
/** More than any zone ever moved its clock at once, short of skipping a day. */
const largestShiftMs = 3 * hourMs;
const names = /\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)\b/gi;

/** What is wrong with a schedule; undefined where `nextRun` can work with it. */
export function scheduleProblem({ cron, timeZone }: Pick<Schedule, 'cron' | 'timeZone'>): { field: 'cron' | 'timeZone'; message: string } | undefined {
  const problem = cronProblem(cron);
  if (problem !== undefined) return { field: 'cron', message: `"${cron}" is not a schedule: ${problem}` };
  if (!isTimeZone(timeZone)) return { field: 'timeZone', message: `"${timeZone}": timeZone must be an IANA time zone name, such as Europe/Berlin` };
  return undefined;
}

function cronProblem(cron: string): string | undefined {
  if (!/^[^ ]+( +[^ ]+){4}$/.test(cron)) return "it must have exactly five fields separated by spaces, such as '*/15 * * * *'";
  // cron-parser also reads H (random), L, # and ?: no standard, and one of them not even the same twice.
  if (!/^[\d*,/ -]+$/.test(cron.replaceAll(names, '0'))) return 'its fields may hold numbers, names such as MON or JAN, and * , - /';
  try {
    parseCron(cron, 0).next();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/**
 * The next moment to run on this node, later than `afterMs`: the next due time plus the node's own share of the jitter, the same each time.
 *
 * A time of day that the clock skips in spring is due when it would have come without the change (02:30 at 03:30). One that comes twice in
 * autumn is due the first time only, also where the schedule names every hour.
 * Total for every schedule that `scheduleProblem` finds nothing wrong with.
 */
export function nextRun(schedule: Schedule, nodeName: string, afterMs: number): number {
  const offsetMs = shareOfJitter(schedule.jitterMs, nodeName);
  return nextDue(schedule, afterMs - offsetMs) + offsetMs;
}

/** Steps through a calendar without zones and places each time of day in the zone: the libraries' own zone handling fails at half-hour changes. */
function nextDue({ cron, timeZone }: Schedule, afterMs: number): number {
  // Times of day that came before `afterMs` may come again after it.
  const calendar = parseCron(cron, wallClockOf(afterMs, timeZone) - largestShiftMs);
  let earliest = Infinity;
  for (;;) {
    const instant = instantOf(calendar.next().getTime(), timeZone);
    if (instant > afterMs) earliest = Math.min(earliest, instant);
    // A later time of day may still come earlier, but by no more than a shift of the clock.
    if (instant > earliest + largestShiftMs) return earliest;
  }
}

function parseCron(cron: string, fromMs: number): CronExpression {
  return CronExpressionParser.parse(cron, { currentDate: new Date(fromMs), tz: 'UTC' });
}

function shareOfJitter(jitterMs: number, nodeName: string): number {
  if (jitterMs === 0) return 0;
  return createHash('sha256').update(nodeName).digest().readUIntBE(0, 6) % jitterMs;
}
