import { formatBytes } from '../api/quantity.ts';
import { figuresOf } from '../policy/filesystem.ts';
import { statsOf } from '../policy/snapshot.ts';
import type { ExitCode } from './exit.ts';
import type { Io } from './io.ts';
import { outJson } from './io.ts';
import { bytesInAll, onDiskJson, withOthers } from './on-disk.ts';
import type { PolicyOptions } from './options.ts';
import type { Outcome } from './outcome.ts';
import { cacheJson, usageText } from './outcome.ts';
import { exitCodeOf, planAll } from './passes.ts';
import { printable, table } from './table.ts';
import { openTargets, titleOf } from './targets.ts';

const heading = ['CACHE', 'ENTRIES', 'SIZE', 'IN ALL', 'USAGE', 'HELD', 'DAMAGED', 'LEAVING', 'LEFTOVERS', 'ROOT'];

/** Shows the figures of each cache; what is not known stands as `-`. */
export async function stats(options: PolicyOptions, io: Io): Promise<ExitCode> {
  const { targets } = await openTargets(options);
  const signal = io.stopSignal();
  const outcomes = await withOthers(await planAll(targets, { allowedRoots: options.allowedRoot }, { io, signal }), { allowedRoots: options.allowedRoot, signal });
  if (options.output === 'json') outJson(io, { caches: outcomes.map(statsJson) });
  else io.out(table(heading, outcomes.map((outcome) => row(outcome, titleOf(outcome.target, targets)))));
  for (const { target, errors } of outcomes) {
    for (const { message } of errors) io.err(`${target.cache.name}: ${printable(message)}\n`);
  }
  return exitCodeOf(outcomes);
}

function statsJson(outcome: Outcome) {
  return { ...cacheJson(outcome), ...onDiskJson(outcome), filesystem: outcome.report === undefined ? null : figuresOf(outcome.report.filesystem) };
}

function row(outcome: Outcome, title: string): string[] {
  const { target, report, leaving } = outcome;
  const inAll = bytesInAll(outcome);
  if (report === undefined) return [title, '-', '-', '-', '-', '-', '-', '-', '-', target.cache.root];
  const { entryCount, totalBytes } = statsOf(report.after);
  const { inUse, kept, recent } = report.plan.held;
  return [
    title, String(entryCount), formatBytes(totalBytes), inAll === undefined ? '-' : formatBytes(inAll), usageText(target, report), String(inUse.entries + kept.entries + recent.entries),
    String(report.after.damaged.length), String(leaving?.entries ?? '-'), String(report.after.leftovers.length), target.cache.root,
  ];
}
