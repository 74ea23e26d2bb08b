/**
 * Times of day in a zone. A wall-clock time is written as the ms at which a clock in UTC would show it.
 */

const dayMs = 86_400_000;
const formats = new Map<string, Intl.DateTimeFormat>();

/** What the clock on the wall shows at a moment. */
export function wallClockOf(instantMs: number, timeZone: string): number {
  return instantMs + offsetMs(instantMs, timeZone);
}

/** The moment at which the clock shows a time; the first one where it is set back. One that is skipped is read by the clock before the change. */
export function instantOf(wallClockMs: number, timeZone: string): number {
  // No offset is as large as a day, so these two lie on either side of a change that touches the time.
  const before = offsetMs(wallClockMs - dayMs, timeZone);
  const after = offsetMs(wallClockMs + dayMs, timeZone);
  const instants = [before, after].map((offset) => wallClockMs - offset).filter((instant) => wallClockOf(instant, timeZone) === wallClockMs);
  return instants.length > 0 ? Math.min(...instants) : wallClockMs - before;
}

export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** How far the zone's clocks are ahead of UTC. */
function offsetMs(instantMs: number, timeZone: string): number {
  let format = formats.get(timeZone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' });
    formats.set(timeZone, format);
  }
  const name = format.formatToParts(instantMs).find((part) => part.type === 'timeZoneName')?.value ?? '';
  // `GMT`, `GMT+02:00`, and in the past `GMT-00:01:15`.
  const [, sign, hours, minutes, seconds] = /^GMT(?:([+-])(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(name) ?? [];
  const ahead = (Number(hours ?? 0) * 3600 + Number(minutes ?? 0) * 60 + Number(seconds ?? 0)) * 1000;
  return sign === '-' ? -ahead : ahead;
}
