import { formatDuration, formatExactDuration } from '../api/duration.ts';
import { formatBytes } from '../api/quantity.ts';
import type { PassReport } from '../cache/report.ts';
import { idleMsOf } from '../policy/lru-order.ts';
import type { Plan, Tally } from '../policy/plan.ts';
import type { Snapshot } from '../policy/snapshot.ts';
import { statsOf } from '../policy/snapshot.ts';
import type { Filesystem } from '../policy/filesystem.ts';
import { wantedFree } from '../policy/filesystem.ts';
import { pinText } from '../policy/keep.ts';
import type { LimitName, Limits } from '../policy/limits.ts';
import { beyondCapacityText } from '../policy/node-report.ts';
import type { UnmetLimit, UnmetReason } from '../policy/unmet-limits.ts';
import { fillOf, formatUsage } from '../policy/usage.ts';
import type { Outcome } from './outcome.ts';
import { bar, count, pad, printable, shortened } from './table.ts';
import type { Target } from './targets.ts';

/** `rootfs  /var/lib/a3s-box/home/cache/rootfs`, and what failed there. */
export function headingText({ target, report, errors }: Outcome, title: string): string {
  const clock = report?.clockDoubt === undefined ? '' : `  note: ${clockText(report.clockDoubt)}\n`;
  const lines = errors.map(({ entry, message }) => `  failed: ${entry === undefined ? '' : `${printable(entry)}: `}${printable(message)}\n`);
  return `${title}  ${target.cache.root}\n${lines.join('')}${clock}`;
}

/** What follows from a clock that is doubted. */
function clockText(why: string): string {
  return `${printable(why)}, so nothing is evicted for maxIdle and no pin expires; after ten minutes and two runs the clock is believed`;
}

/** A line with a bar for each limit, as things stand in a snapshot. */
export function limitsText({ cache: { limits } }: Target, { after: snapshot, plan, filesystem }: PassReport): string {
  const { entryCount, totalBytes } = statsOf(snapshot);
  const idleMs = longestIdleMs(snapshot, plan);
  const of = (actual: string, allowed: number | null, format: (n: number) => string): string => (allowed === null ? actual : `${actual} of ${format(allowed)}`);
  const rows: (readonly [string, string, number])[] = [
    ['entries', of(String(entryCount), limits.maxEntries, String), ratio(entryCount, limits.maxEntries)],
    ['bytes', of(formatBytes(totalBytes), limits.maxBytes, formatBytes), ratio(totalBytes, limits.maxBytes)],
  ];
  if (limits.maxIdleMs !== null) rows.push(['idle', of(formatDuration(idleMs), limits.maxIdleMs, formatExactDuration), ratio(idleMs, limits.maxIdleMs)]);
  rows.push(...freeRows(limits, filesystem));
  const width = Math.max(...rows.map(([, text]) => text.length));
  return rows.map(([name, text, used]) => `  ${pad(name, 9)} ${pad(text, width)}${barText(used)}`.trimEnd()).map((line) => `${line}\n`).join('');
}

/** `free  12.3Gi of 20Gi wanted`: the bar is full when no more than that is free. */
function freeRows(limits: Limits, filesystem: Filesystem): (readonly [string, string, number])[] {
  const wanted = wantedFree(limits, filesystem);
  const fill = fillOf(limits, filesystem);
  const { availableBytes, inodesFree = 0 } = filesystem;
  return [
    ...(fill.bytes === undefined ? [] : [['free', `${formatBytes(availableBytes)} of ${formatBytes(wanted.bytes)} wanted`, fill.bytes] as const]),
    ...(fill.inodes === undefined ? [] : [['inodes', `${inodesFree} of ${wanted.inodes} wanted`, fill.inodes] as const]),
  ];
}

/** Of the entries that no one uses: of these the first in the order of last use. */
function longestIdleMs({ entries, takenAtMs }: Snapshot, plan: Plan): number {
  const left = new Set([...entries].map(({ name }) => name));
  for (const { entry, reason } of plan.verdicts) if (reason !== 'InUse' && left.has(entry.name)) return idleMsOf(entry, takenAtMs);
  return 0;
}

/** NaN where there is no limit. */
function ratio(actual: number, allowed: number | null): number {
  if (allowed === null) return NaN;
  if (allowed === 0) return actual === 0 ? 0 : Infinity;
  return actual / allowed;
}

function barText(used: number): string {
  return Number.isNaN(used) ? '' : ` ${bar(used)} ${formatUsage(used).padStart(5)}`;
}

/** What is protected, and which limits are not met. */
export function heldText({ held, expiredPins }: Plan, unmet: readonly UnmetLimit[]): string {
  const words: Record<LimitName, (n: number) => string> = { MaxEntries: String, MaxBytes: formatBytes, MaxIdle: formatDuration, MinFree: formatBytes, MinFreeInodes: String };
  const gaps = unmet.map((each) => {
    const { limit, allowed, remaining, because } = each;
    if (because === 'BeyondCapacity') return `  ${limit} cannot be met: ${beyondCapacityText(each)}\n`;
    const inWords = words[limit];
    if (because === 'HeldAlone') return `  ${limit} cannot be met: ${inWords(remaining)} of ${inWords(allowed)} are protected, so nothing is evicted for it\n`;
    const unforeseen = unforeseenText[because];
    if (unforeseen !== undefined) return `  ${limit} is not met: ${inWords(remaining)} of ${inWords(allowed)} stay: ${unforeseen}\n`;
    const gap = limit.startsWith('MinFree') ? `${inWords(remaining)} of ${inWords(allowed)} wanted can be free` : `${inWords(remaining)} of ${inWords(allowed)} stay, protected`;
    return `  ${limit} cannot be met: ${gap}\n`;
  });
  return `held: ${held.inUse.entries} in use, ${held.kept.entries} kept, ${held.recent.entries} recent\n${gaps.join('')}${expiredPins.map((pin) => `  expired, holds nothing any more: ${printable(pinText(pin))}\n`).join('')}`;
}

/** What a plan does not foresee. */
const unforeseenText: Partial<Record<UnmetReason, string>> = {
  Failed: 'what failed could not be evicted, and nothing more recently used is evicted in its place',
  Stopped: 'the run was stopped',
  Meanwhile: 'what was to be evicted was used meanwhile, or more was added',
};

/** `  on the way out: 3 entries, 1Gi; …` Nothing where nothing is. */
export function leavingText({ leaving }: Outcome): string {
  if (leaving === undefined || leaving.entries === 0) return '';
  return `  on the way out: ${tallyText(leaving)}; evicted, and not deleted yet: prune or an agent deletes them, or puts back what is in use\n`;
}

/** What is in the directory and is no entry. Nothing where there is nothing. */
export function oddText({ root, after: { damaged, leftovers, unrecognised } }: PassReport): string {
  const kinds = new Map<string, number>();
  for (const { kind } of leftovers) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  return [
    ...damaged.slice(0, mostExamples).map(({ name, reason, message }) => `  damaged ${printable(shortKey(name))}: ${reason}: ${printable(within(root, message))}\n`),
    ...(damaged.length > mostExamples ? [`  and ${damaged.length - mostExamples} more damaged; cachepolicy explain lists all\n`] : []),
    ...(leftovers.length > 0 ? [`  ${count(leftovers.length, 'leftover', 'leftovers')}: ${[...kinds].map(([kind, n]) => `${n} ${kind}`).join(', ')}\n`] : []),
    ...(unrecognised.length > 0 ? [`  not recognised, never touched: ${examplesText(unrecognised)}\n`] : []),
  ].join('');
}

/** How many names of one kind are shown; a directory may hold 100,000 that are no entries. */
const mostExamples = 10;

function examplesText(names: readonly string[]): string {
  const examples = names.slice(0, mostExamples).map((name) => shortened(printable(name))).join(', ');
  return names.length > mostExamples ? `${names.length} names, such as ${examples}; cachepolicy explain lists all` : examples;
}

/** Without the directory, where it stands in the heading already. */
export function within(root: string, message: string): string {
  return message.replaceAll(`${root}/`, '');
}

export function tallyText({ entries, bytes }: Tally): string {
  return `${count(entries, 'entry', 'entries')}, ${formatBytes(bytes)}`;
}

/** A part of a key, enough to tell entries apart: the beginning of a digest, both ends of a long name. */
export function shortKey(key: string): string {
  const digest = /^(sha256:)?([0-9a-f]{64})$/.exec(key);
  return digest === null ? shortened(key) : `${digest[1] ?? ''}${digest[2]?.slice(0, 12)}`;
}
