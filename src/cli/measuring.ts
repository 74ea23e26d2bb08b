import type { ProgressLine } from './progress.ts';
import { count } from './table.ts';

/** A command that measures for longer than this says so. */
const patienceMs = 2_000;

/** Shows how far the measuring of a cache is, once it takes long. @returns for CacheOptions */
export function showMeasuring(progress: ProgressLine, cacheName: string): (done: number, total: number) => void {
  let sinceMs = 0;
  return (done, total) => {
    const nowMs = performance.now();
    if (done === 0) sinceMs = nowMs;
    if (nowMs - sinceMs >= patienceMs) progress.show(`${cacheName}: measuring ${count(total, 'entry', 'entries')}`, done / total);
  };
}
