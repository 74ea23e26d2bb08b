import { createHash } from 'node:crypto';
import type { CronExpression } from 'cron-parser';
import { CronExpressionParser } from 'cron-parser';
import { formatExactDuration } from '../api/duration.ts';
import { messageOf } from '../errors.ts';
import type { Schedule } from './compiled.ts';
import { instantOf, isTimeZone, wallClockOf } from './wall-clock.ts';

// cron-parser and time zones cost 7 MiB: import this file only where a schedule is set.

const minuteMs = 60_000;
const hourMs = 3_600_000;
/** More than any zone ever moved its clock at once, short of skipping a day. */
const largestShiftMs = 3 * hourMs;
const names = /\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)\b/gi;

/** What is wrong with a schedule; undefined where `nextRun` can work with it. */
export function scheduleProblem({ cron, timeZone, jitterMs }: Schedule): { field: 'cron' | 'timeZone' | 'jitter'; message: string } | undefined {
  const problem = cronProblem(cron);
  if (problem !== undefined) return { field: 'cron', message: `"${cron}" is not a schedule: ${problem}` };
  if (!isTimeZone(timeZone)) return { field: 'timeZone', message: `"${timeZone}": timeZone must be an IANA time zone name, such as Europe/Berlin` };
  const gapMs = shortestGapMs(cron, jitterMs);
  if (jitterMs > gapMs) return { field: 'jitter', message: `jitter ${formatExactDuration(jitterMs)} is longer than the ${formatExactDuration(gapMs)} between two runs of "${cron}"; write at most ${formatExactDuration(gapMs)}` };
  return undefined;
}

/** The shortest time between two due times in a calendar without zones, as far as it matters: a gap of at least `enoughMs` is reported as that or more. */
function shortestGapMs(cron: string, enoughMs: number): number {
  let shortestMs = Infinity;
  // No schedule is due twice in a minute.
  if (enoughMs <= minuteMs) return shortestMs;
  const calendar = parseCron(cron, 0);
  let lastMs = calendar.next().getTime();
  for (let i = 0; i < mostGaps && lastMs < gapsUntilMs && shortestMs >= enoughMs; i += 1) {
    const atMs = calendar.next().getTime();
    shortestMs = Math.min(shortestMs, atMs - lastMs);
    lastMs = atMs;
  }
  return shortestMs;
}
/** Two days of a schedule that is due every minute. */
const mostGaps = 3_000;
/** Four years and a day: all that a calendar has, February 29th included. */
const gapsUntilMs = 1_462 * 24 * hourMs;

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
  return CronExpressionParser.parse(withoutRepeats(cron), { currentDate: new Date(fromMs), tz: 'UTC' });
}

const fieldNames = ['minute', 'hour', 'dayOfMonth', 'month', 'dayOfWeek'] as const;

/** cron-parser refuses a list that names a value twice (`1,1`, `0,7`, `1,1-3`), which cron and Kubernetes take: such a list is written as its values. */
function withoutRepeats(cron: string): string {
  return cron.split(/ +/).map((field, i) => (/^[^,]+(,[^,]+)+$/.test(field) ? listOf(field.split(','), i) : field)).join(' ');
}

function listOf(items: readonly string[], place: number): string {
  const name = fieldNames[place];
  if (name === undefined || items.includes('*')) return '*';
  const values = items.flatMap((item): number[] => {
    const alone = fieldNames.map((_, i) => (i === place ? item : '*')).join(' ');
    return CronExpressionParser.parse(alone, { tz: 'UTC' }).fields[name].values.map(Number);
  });
  // Sunday is 0 and 7.
  return [...new Set(values.map((value) => (name === 'dayOfWeek' ? value % 7 : value)))].toSorted((a, b) => a - b).join(',');
}

function shareOfJitter(jitterMs: number, nodeName: string): number {
  if (jitterMs === 0) return 0;
  return createHash('sha256').update(nodeName).digest().readUIntBE(0, 6) % jitterMs;
}
