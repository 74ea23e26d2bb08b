import type { EntryTable } from './entry-table.ts';
import { isoSeconds } from './node-report.ts';
import type { Entry } from './snapshot.ts';
import type { Steps } from './steps.ts';
import { stepMask } from './steps.ts';

/** A pin: entries that stay, whatever the limits say. */
export interface Pin {
  /** Whether `pattern` is a whole key, or a glob over descriptions. */
  readonly by: 'key' | 'description';
  readonly pattern: string;
  /** Null where it holds for good. */
  readonly untilMs: number | null;
  /** For people; empty where nobody said why. */
  readonly reason: string;
}

export function pinsInForce(pins: readonly Pin[], nowMs: number): readonly Pin[] {
  return pins.filter((pin) => !isExpired(pin, nowMs));
}

export function expiredPins(pins: readonly Pin[], nowMs: number): readonly Pin[] {
  return pins.filter((pin) => isExpired(pin, nowMs));
}

function isExpired({ untilMs }: Pin, nowMs: number): boolean {
  return untilMs !== null && nowMs >= untilMs;
}

/** Rows of the entries that pins hold. */
export function* pinnedRows(entries: EntryTable, pins: readonly Pin[]): Steps<ReadonlySet<number>> {
  const rows = new Set(yield* entries.rowsKeyed(pins.filter(({ by }) => by === 'key').map(({ pattern }) => pattern)));
  const globs = pins.filter(({ by }) => by === 'description').map(({ pattern }) => globMatcher(pattern));
  for (let row = 0; row < entries.length && globs.length > 0; row += 1) {
    if ((row & stepMask) === stepMask) yield;
    const description = entries.descriptionAt(row);
    if (globs.some((matches) => matches(description))) rows.add(row);
  }
  return rows;
}

/** The first that holds an entry. */
export function pinOf({ key, description }: Pick<Entry, 'key' | 'description'>, pins: readonly Pin[]): Pin | undefined {
  return pins.find(({ by, pattern }) => (by === 'key' ? pattern === key : globMatcher(pattern)(description)));
}

/** `pinned by description "docker.io/library/nginx:*" until 2027-01-01T00:00:00Z: sale weekend` */
export function pinText({ by, pattern, untilMs, reason }: Pin): string {
  const until = untilMs === null ? '' : ` until ${isoSeconds(untilMs)}`;
  return `pinned by ${by} "${pattern}"${until}${reason === '' ? '' : `: ${reason}`}`;
}

/** `*` is any text, `?` any one character, everything else itself; the whole text has to match. */
export function globMatcher(pattern: string): (text: string) => boolean {
  const parts = [...pattern];
  const wildcard = pattern.search(/[*?]/);
  if (wildcard === -1) return (text) => text === pattern;
  // Most descriptions differ from most patterns right here.
  const start = pattern.slice(0, wildcard);
  return (text) => text.startsWith(start) && matchesGlob([...text], parts);
}

/**
 * Only the last `*` is ever tried again, one character further on: what an earlier one could still take, the last one can take, too.
 * So it takes at most as many steps as text and pattern have characters multiplied, where a backtracking regex may never end.
 */
function matchesGlob(text: readonly string[], pattern: readonly string[]): boolean {
  let at = 0;
  let to = 0;
  let star = -1;
  let takenByStar = 0;
  while (at < text.length) {
    if (pattern[to] === '*') {
      star = to;
      takenByStar = at;
      to += 1;
    } else if (to < pattern.length && (pattern[to] === '?' || pattern[to] === text[at])) {
      at += 1;
      to += 1;
    } else if (star !== -1) {
      takenByStar += 1;
      at = takenByStar;
      to = star + 1;
    } else {
      return false;
    }
  }
  while (pattern[to] === '*') to += 1;
  return to === pattern.length;
}
