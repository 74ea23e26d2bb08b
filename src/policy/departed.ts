import type { CachePolicyStatus } from '../api/status.ts';
import { saturated } from './report-sums.ts';

/** Evictions of NodeCaches that the controller removed, and those that it is about to remove (docs/decisions/0004). */
export type Departed = NonNullable<CachePolicyStatus['departed']>;
export type Leaving = Required<NonNullable<Departed['leaving']>[number]>;

/** What is there of a NodeCache: its identity and its version; undefined where there is none. */
export type Present = { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined } | undefined;

/**
 * What the next status says of departed nodes. A report that the last status called leaving counts once it is gone, whoever saw it go; while the very
 * version is present its removal may be on its way, so it stays on the list; a later version was not removed and counts by itself.
 * @param present the NodeCache of a node as the store has it, the one that the sums are made of
 * @param candidates reports to remove next; at most `most` are on the list at a time
 */
export function nextDeparted(previous: Departed | undefined, present: (nodeName: string) => Present, candidates: Iterable<Leaving>, most: number): { readonly departed: Departed; readonly more: boolean } {
  let [evictedEntries, evictedBytes] = [previous?.evictedEntries ?? 0, previous?.evictedBytes ?? 0];
  const leaving: Leaving[] = [];
  for (const each of previous?.leaving ?? []) {
    const { nodeName = '', uid = '', resourceVersion = '' } = each;
    const now = present(nodeName);
    if (now?.uid !== uid) {
      evictedEntries += each.evictedEntries ?? 0;
      evictedBytes += each.evictedBytes ?? 0;
    } else if (now.resourceVersion === resourceVersion) {
      leaving.push({ nodeName, uid, resourceVersion, evictedEntries: each.evictedEntries ?? 0, evictedBytes: each.evictedBytes ?? 0 });
    }
  }
  const listed = new Set(leaving.map(({ uid }) => uid));
  let more = false;
  for (const candidate of candidates) {
    if (listed.has(candidate.uid)) continue;
    more = leaving.length >= most;
    if (more) break;
    leaving.push(candidate);
  }
  const counted = { evictedEntries: saturated(evictedEntries), evictedBytes: saturated(evictedBytes) };
  return { departed: { ...counted, ...(leaving.length > 0 && { leaving }) }, more };
}
