import { formatDuration } from '../api/duration.ts';
import { formatBytes } from '../api/quantity.ts';
import type { JournalRecord } from '../cache/journal.ts';
import { readJournal } from '../cache/journal.ts';
import { OperatorError } from '../errors.ts';
import { shortKey } from './cache-text.ts';
import type { ExitCode } from './exit.ts';
import { exitCodes, InputError } from './exit.ts';
import type { Io } from './io.ts';
import { outJson } from './io.ts';
import type { PolicyOptions } from './options.ts';
import { count, entryTable, printable, shortened } from './table.ts';
import type { Target } from './targets.ts';
import { openTargets, titleOf } from './targets.ts';

export interface HistoryOptions extends PolicyOptions {
  /** How many events to show, the newest. */
  readonly number: number;
}

/** One event, and whose. */
interface Event {
  readonly target: Target;
  readonly record: JournalRecord;
}

/** Shows what was evicted and what came back, newest first, from the journals in the caches. */
export async function history(cacheNames: readonly string[], options: HistoryOptions, io: Io): Promise<ExitCode> {
  const { targets } = await openTargets(options);
  const chosen = choose(targets, cacheNames);
  let failed = false;
  const events: Event[] = [];
  for (const target of chosen) {
    try {
      events.push(...eventsOf(target, options, io));
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      failed = true;
      io.err(`${titleOf(target, targets)}: ${printable(error.message)} (${error.hint})\n`);
    }
  }
  // Within one millisecond the later line is the later event.
  const newest = events.toReversed().toSorted((a, b) => b.record.atMs - a.record.atMs);
  const shown = newest.slice(0, options.number);
  if (options.output === 'json') outJson(io, { events: shown.map(eventJson) });
  else tellEvents(shown, { all: newest.length, targets: chosen, wholeKeys: options.output === 'wide', failed }, io);
  return failed ? exitCodes.failed : exitCodes.done;
}

function choose(targets: readonly Target[], names: readonly string[]): readonly Target[] {
  const unknown = names.filter((name) => !targets.some(({ cache }) => cache.name === name));
  const known = [...new Set(targets.map(({ cache }) => cache.name))].join(', ');
  if (unknown.length > 0) throw new InputError(unknown.map((name) => `history: there is no cache "${name}"; there are ${known}`));
  return names.length === 0 ? targets : targets.filter(({ cache }) => names.includes(cache.name));
}

function eventsOf(target: Target, { allowedRoot }: HistoryOptions, io: Io): Event[] {
  const { records, strangeLines } = readJournal({ ...target.cache, allowedRoots: allowedRoot });
  if (strangeLines > 0) io.err(`note: ${target.cache.name}: ${count(strangeLines, 'line', 'lines')} of the journal cannot be read and ${strangeLines === 1 ? 'is' : 'are'} left out\n`);
  return records.map((record) => ({ target, record }));
}

function eventJson({ target: { policyName, cache }, record: { atMs, event, key, description, sizeBytes, reason, trigger } }: Event) {
  return { time: new Date(atMs).toISOString(), cache: cache.name, policy: policyName, event, key, description, sizeBytes, reason, trigger };
}

function tellEvents(shown: readonly Event[], { all, targets, wholeKeys, failed }: { all: number; targets: readonly Target[]; wholeKeys: boolean; failed: boolean }, io: Io): void {
  if (shown.length > 0) io.out(eventsTable(shown, targets, wholeKeys));
  if (all > shown.length) io.err(`note: the newest ${shown.length} of ${all} events; -n ${all} shows all\n`);
  if (all > 0 || failed) return;
  io.out(`nothing has been evicted from ${targets.map((target) => titleOf(target, targets)).join(', ')} yet, as far as is remembered\n`);
  io.err('note: the history begins with the first eviction by prune or by an agent; cachepolicy plan shows what would go now\n');
}

function eventsTable(events: readonly Event[], targets: readonly Target[], wholeKeys: boolean): string {
  const several = targets.length > 1;
  const nowMs = Date.now();
  const rows = events.map(({ target, record: { atMs, event, key, description, sizeBytes, reason, trigger } }) => [
    timeText(atMs, nowMs), ...(several ? [titleOf(target, targets)] : []), event === 'Evicted' ? 'evicted' : 'came back', wholeKeys ? key : shortKey(key),
    description === '' ? '-' : wholeKeys ? description : shortened(description), sizeBytes === null ? '-' : formatBytes(sizeBytes), reason ?? '-', trigger ?? '-',
  ]);
  return entryTable(['TIME', ...(several ? ['CACHE'] : []), 'EVENT', 'KEY', 'DESCRIPTION', 'SIZE', 'REASON', 'TRIGGER'], rows);
}

/** `2026-11-23 14:25:59 (3m20s ago)`, in the time zone of who asks. */
function timeText(atMs: number, nowMs: number): string {
  const at = new Date(atMs);
  const two = (n: number) => String(n).padStart(2, '0');
  const local = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return `${local} (${atMs > nowMs ? 'ahead' : `${formatDuration(nowMs - atMs)} ago`})`;
}
