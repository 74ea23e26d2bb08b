import { formatBytes } from '../api/quantity.ts';
import { openCacheRoot } from '../cache/cache-root.ts';
import { openFormat } from '../cache/formats/registry.ts';
import type { OtherBytes } from '../cache/other-bytes.ts';
import { measureOthers, sumOf } from '../cache/other-bytes.ts';
import { statsOf } from '../policy/snapshot.ts';
import type { Outcome } from './outcome.ts';
import { attempt } from './passes.ts';

/** Adds to each outcome what takes space in the directory besides entries, so that the sum can be compared with `du`. Reads only. */
export async function withOthers(outcomes: readonly Outcome[], { allowedRoots, signal }: { allowedRoots: readonly string[]; signal: AbortSignal }): Promise<readonly Outcome[]> {
  const measured: Outcome[] = [];
  for (const outcome of outcomes) {
    const { target: { cache }, report } = outcome;
    const isKnown = report !== undefined && !signal.aborted;
    measured.push(!isKnown ? outcome : await attempt(outcome, async () => {
      const format = openFormat(cache.format);
      using root = openCacheRoot(cache.root, format, { allowedRoots });
      return { ...outcome, others: await measureOthers(root, format, report.after, signal) };
    }));
  }
  return measured;
}

/** Entries and all else; undefined where either is unknown. */
export function bytesInAll({ report, others }: Outcome): number | undefined {
  return report && others && statsOf(report.after).totalBytes + sumOf(others);
}

export function onDiskJson(outcome: Outcome): { readonly otherBytes: OtherBytes | null; readonly bytesInAll: number | null } {
  return { otherBytes: outcome.others ?? null, bytesInAll: bytesInAll(outcome) ?? null };
}

/** `in all  9.3Gi with what is no entry: 1Gi damaged, 300Mi not recognised, 64Ki of .cachepolicy`; nothing where there are entries alone. */
export function onDiskText(outcome: Outcome): string {
  const { others } = outcome;
  const inAll = bytesInAll(outcome);
  if (others === undefined || inAll === undefined) return '';
  const { damaged, leftovers, unrecognised, unmeasured } = others;
  const parts = [[damaged, 'damaged'], [leftovers, 'left over'], [unrecognised, 'not recognised']].flatMap(([bytes, what]) => (bytes === 0 ? [] : [`${formatBytes(Number(bytes))} ${what}`]));
  if (parts.length === 0 && unmeasured === 0) return '';
  return `  in all    ${formatBytes(inAll)}: ${[...parts, `${formatBytes(others.own)} of our own and the directory itself`].join(', ')}${unmeasured === 0 ? '' : `; ${unmeasured} could not be measured`}\n`;
}
