import { formatDuration } from '../api/duration.ts';
import { formatBytes } from '../api/quantity.ts';
import type { PassReport } from '../cache/report.ts';
import { idleMsOf } from '../policy/lru-order.ts';
import type { Verdict } from '../policy/verdicts.ts';
import { headingText, shortKey, within } from './cache-text.ts';
import type { ExitCode } from './exit.ts';
import type { Io } from './io.ts';
import { outJson } from './io.ts';
import type { PolicyOptions } from './options.ts';
import type { Outcome } from './outcome.ts';
import { cacheJson } from './outcome.ts';
import { exitCodeOf, planAll } from './passes.ts';
import { entryTable, shortened } from './table.ts';
import { openTargets, titleOf } from './targets.ts';

const heading = ['KEY', 'DESCRIPTION', 'SIZE', 'USED', 'VERDICT', 'REASON'];
const verdictColumn = heading.indexOf('VERDICT');

export interface ExplainOptions extends PolicyOptions {
  /** Entries with this fate alone, and nothing that is no entry. */
  readonly verdict?: Verdict['verdict'];
}

/** Shows the fate of everything in the caches, with the plan's own words for it. */
export async function explain(options: ExplainOptions, io: Io): Promise<ExitCode> {
  const { targets } = await openTargets(options);
  const outcomes = await planAll(targets, { allowedRoots: options.allowedRoot }, { io });
  if (options.output === 'json') outJson(io, { caches: outcomes.map((outcome) => explainJson(outcome, options)) });
  else io.out(outcomes.map((outcome) => explainText(outcome, titleOf(outcome.target, targets), options)).join('\n'));
  return exitCodeOf(outcomes);
}

function explainJson(outcome: Outcome, { verdict: only }: ExplainOptions) {
  const verdicts = [...(outcome.report?.plan.verdicts ?? [])].filter(({ verdict }) => only === undefined || verdict === only);
  const entries = verdicts.map(({ entry: { key, description, sizeBytes, cachedAtMs, lastAccessedAtMs, clockAhead }, verdict, reason, detail }) => ({
    key, description, sizeBytes, cachedAt: isoTime(cachedAtMs), lastAccessed: isoTime(lastAccessedAtMs), clockAhead, verdict, reason, detail,
  }));
  return { ...cacheJson(outcome), entries };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

function explainText(outcome: Outcome, title: string, { verdict, output }: ExplainOptions): string {
  const { report } = outcome;
  if (report === undefined) return headingText(outcome, title);
  const entries = entryRows(report, output === 'wide');
  const rows = verdict === undefined ? [...entries, ...leavingRows(outcome), ...otherRows(report)] : entries.filter((row) => row[verdictColumn] === verdict);
  return `${headingText(outcome, title)}${entryTable(heading, rows)}`;
}

function entryRows({ plan, before }: PassReport, wholeKeys: boolean): string[][] {
  return [...plan.verdicts].map(({ entry, verdict, reason, detail }) => [
    wholeKeys ? entry.key : shortKey(entry.key), wholeKeys ? entry.description || '-' : shortened(entry.description || '-'), formatBytes(entry.sizeBytes),
    entry.clockAhead ? 'ahead' : `${formatDuration(idleMsOf(entry, before.takenAtMs))} ago`, verdict, `${reason}: ${detail}`,
  ]);
}

function leavingRows({ leaving }: Outcome): string[][] {
  if (leaving === undefined) return [];
  const rows = leaving.examples.map(({ key, description, sizeBytes }) => [
    shortKey(key), description || '-', sizeBytes === null ? '-' : formatBytes(sizeBytes), '-', 'leaving', 'evicted, and not deleted yet',
  ]);
  const more = leaving.entries - rows.length;
  return more === 0 ? rows : [...rows, [`${more} more`, '-', '-', '-', 'leaving', 'evicted, and not deleted yet']];
}

/** What is in the directory and is no entry: not counted, not evicted. */
function otherRows({ root, before: { damaged, leftovers, unrecognised } }: PassReport): string[][] {
  return [
    ...damaged.map(({ name, reason, message }) => [shortKey(name), '-', '-', '-', 'damaged', `${reason}: ${within(root, message)}`]),
    ...leftovers.map(({ name, kind, removable }) => {
      const fate = removable ? 'old enough, the next pass removes it' : 'too young to be sure that it is one';
      return [shortKey(name), '-', '-', '-', 'leftover', `${kind}: ${fate}`];
    }),
    ...unrecognised.map((name) => [shortKey(name), '-', '-', '-', 'unknown', 'not recognised, never touched']),
  ];
}
