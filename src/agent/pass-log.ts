import type { PassReport } from '../cache/report.ts';
import type { Log } from '../observe/log.ts';
import { evictedBytes } from './totals.ts';

/** What failed, and one line for all that went. */
export function logPass(log: Log, { cacheName: cache, trigger, evicted, revived, raced, unfinished, errors }: PassReport): void {
  for (const each of errors) log.warn({ cache, code: each.code, entry: each.entry }, each.message);
  if (evicted.length === 0) return;
  log.info({ cache, trigger, entries: evicted.length, bytes: evictedBytes({ evicted }), revived, raced, unfinished }, 'evicted');
}
