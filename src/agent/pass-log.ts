import { crc32 } from 'node:zlib';
import type { PassError, PassReport } from '../cache/report.ts';
import type { Log } from '../observe/log.ts';
import { evictedBytes } from './totals.ts';

/** Tells what fails pass after pass once, for as long as it does: a pass may come every few seconds, and meet every entry of a cache. */
export class Complaints {
  /** Checksums of what the last pass met: there may be 100,000. */
  #met: ReadonlySet<number> = new Set();
  #doubt: string | undefined;

  /** Why the clock is doubted, where the pass before did not say the same. */
  newDoubt(doubt: string | undefined): string | undefined {
    const before = this.#doubt;
    this.#doubt = doubt;
    return doubt === before ? undefined : doubt;
  }

  /** Those that the pass before did not meet. */
  newIn(errors: readonly PassError[]): readonly PassError[] {
    const before = this.#met;
    this.#met = new Set(errors.map(checksum));
    return errors.filter((error) => !before.has(checksum(error)));
  }
}

function checksum({ code, entry = '', message }: PassError): number {
  return crc32(`${code}/${entry}/${message}`);
}

/** What failed, and one line for all that went. */
export function logPass(log: Log, { cacheName: cache, trigger, evicted, revived, raced, unfinished, clockDoubt, errors }: PassReport): void {
  if (clockDoubt !== undefined) log.warn({ cache, why: clockDoubt }, 'the clock is not believed for ten minutes and two passes: nothing is evicted for maxIdle, and no pin expires');
  for (const each of errors) log.warn({ cache, code: each.code, entry: each.entry }, each.message);
  if (evicted.length === 0) return;
  log.info({ cache, trigger, entries: evicted.length, bytes: evictedBytes({ evicted }), revived, raced, unfinished }, 'evicted');
}
