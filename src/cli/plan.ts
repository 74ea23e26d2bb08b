import { headingText, heldText, leavingText, limitsText, oddText, tallyText } from './cache-text.ts';
import type { ExitCode } from './exit.ts';
import type { Io } from './io.ts';
import { outJson } from './io.ts';
import { tellNotes } from './notes.ts';
import { onDiskJson, onDiskText, withOthers } from './on-disk.ts';
import type { PolicyOptions } from './options.ts';
import type { Outcome } from './outcome.ts';
import { cacheJson, goingJson, notEvicted, tallyOf, unmetIn } from './outcome.ts';
import { exitCodeOfLimits, planAll } from './passes.ts';
import { openTargets, titleOf } from './targets.ts';

/** Shows what prune would evict, and changes nothing. */
export async function plan(options: PolicyOptions, io: Io): Promise<ExitCode> {
  const { targets, policies } = await openTargets(options);
  tellNotes(policies, { scheduleIgnored: true }, io);
  const signal = io.stopSignal();
  const outcomes = await withOthers(await planAll(targets, { allowedRoots: options.allowedRoot }, { io, signal }), { allowedRoots: options.allowedRoot, signal });
  if (options.output === 'json') outJson(io, { caches: outcomes.map(planJson) });
  else io.out(outcomes.map((outcome) => planText(outcome, titleOf(outcome.target, targets))).join('\n'));
  return exitCodeOfLimits(outcomes);
}

/** Also what prune prints where it may evict nothing. */
export function planJson(outcome: Outcome) {
  const { report } = outcome;
  return { ...cacheJson(outcome), ...onDiskJson(outcome), unmet: unmetIn(outcome), evicted: goingJson(report?.evicted ?? []), wouldEvict: goingJson(report ? notEvicted(report) : []) };
}

export function planText(outcome: Outcome, title: string): string {
  const { report, target } = outcome;
  const heading = headingText(outcome, title);
  if (report === undefined) return heading;
  const would = `  would evict ${tallyText(tallyOf(notEvicted(report)))}; ${heldText(report.plan, unmetIn(outcome))}`;
  return `${heading}${limitsText(target, report)}${onDiskText(outcome)}${would}${leavingText(outcome)}${oddText(report)}`;
}
