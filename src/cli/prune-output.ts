import { formatBytes } from '../api/quantity.ts';
import type { PassReport } from '../cache/report.ts';
import { headingText, heldText, leavingText, limitsText, oddText, shortKey, tallyText } from './cache-text.ts';
import { onDiskText } from './on-disk.ts';
import type { Outcome } from './outcome.ts';
import { tallyOf, unmetIn } from './outcome.ts';
import { planJson, planText } from './plan.ts';
import { count, table } from './table.ts';

export function pruneJson(outcome: Outcome) {
  const { report, purged } = outcome;
  return {
    ...planJson(outcome),
    revived: report?.revived ?? 0,
    raced: report?.raced ?? 0,
    failed: report?.failed ?? 0,
    leftoversRemoved: report?.leftoversRemoved ?? 0,
    purged: { entries: purged?.purgedEntries ?? 0, bytes: purged?.purgedBytes ?? 0 },
  };
}

export function pruneText(outcome: Outcome, { title, mayEvict }: { title: string; mayEvict: boolean }): string {
  if (!mayEvict) return planText(outcome, title);
  const { report, target } = outcome;
  const heading = headingText(outcome, title);
  if (report === undefined) return heading;
  const evicted = `  evicted ${tallyText(tallyOf(report.evicted))}; ${heldText(report.plan, unmetIn(outcome))}`;
  return `${heading}${evictedTable(report)}${evicted}${exceptionsText(report)}${limitsText(target, report)}${onDiskText(outcome)}${leavingText(outcome)}${oddText(report)}`;
}

function evictedTable({ evicted }: PassReport): string {
  if (evicted.length === 0) return '';
  const rows = evicted.map(({ key, description, sizeBytes, reason, detail }) => {
    return [shortKey(key), description || '-', formatBytes(sizeBytes), `${reason}: ${detail}`];
  });
  return table(['KEY', 'DESCRIPTION', 'SIZE', 'REASON'], rows, '  ');
}

function exceptionsText({ revived, raced, leftoversRemoved }: PassReport): string {
  return [
    ...(revived > 0 ? [`  ${count(revived, 'entry was', 'entries were')} wanted again and put back\n`] : []),
    ...(raced > 0 ? [`  ${count(raced, 'entry was', 'entries were')} used meanwhile and left alone\n`] : []),
    ...(leftoversRemoved > 0 ? [`  ${count(leftoversRemoved, 'leftover', 'leftovers')} removed\n`] : []),
  ].join('');
}
