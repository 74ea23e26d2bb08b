import type { Dir } from '../disk/dir.ts';
import { Slices } from '../disk/slices.ts';
import type { EntryName } from '../policy/snapshot.ts';
import { Backoff } from './backoff.ts';
import type { EvictionResult } from './evict.ts';
import type { Site } from './site.ts';

/** What a cache keeps in mind of its evictions from one pass to the next. */
export class EvictionMemory {
  readonly #backoff = new Backoff();
  #own: ReadonlySet<string> = new Set();
  /** What this pass left out. */
  #waiting = new Set<EntryName>();

  /** What was evicted here and has not been purged, by the names of the items. */
  get own(): ReadonlySet<string> {
    return this.#own;
  }

  /** Not what could not be taken out a while ago: each try makes the entry a miss for a settle, and changes the root. */
  isDue({ clock, errors }: Pick<Site, 'clock' | 'errors'>, name: EntryName): boolean {
    const error = this.#backoff.waiting(name, clock.now());
    if (error === undefined) return true;
    this.#waiting.add(name);
    errors.push(error);
    return false;
  }

  /** @returns how many entries could not be taken out, in this pass or in one before whose backoff still lasts */
  async keep({ gone, items, failed }: EvictionResult, { trash, nowMs }: { trash: Dir; nowMs: number }): Promise<number> {
    const slices = new Slices();
    const own = new Set<string>();
    for (const id of [...this.#own, ...items]) {
      if (slices.over) await slices.yield();
      if (trash.statOf(id) !== undefined) own.add(id);
    }
    this.#own = own;
    for (const { name } of gone) this.#backoff.succeeded(name);
    for (const [name, error] of failed) this.#backoff.failed(name, error, nowMs);
    const count = failed.size + this.#waiting.size;
    this.#waiting = new Set();
    return count;
  }
}
