import { isDeepStrictEqual } from 'node:util';
import type { CacheMemory, MemoryPlace } from '../cache/state.ts';
import { hasMemory, readMemory, writeMemory } from '../cache/state.ts';
import { OperatorError } from '../errors.ts';
import type { Totals } from '../policy/node-report.ts';
import { noTotals } from '../policy/node-report.ts';
import type { CacheWorkerOptions } from './cache-worker-options.ts';
import { larger } from './totals.ts';

/** What of a cache outlives the agent: what has been counted, and which policy was enforced last. */
export class CacheRecord {
  readonly #options: CacheWorkerOptions;
  #totals: Totals | undefined;
  #countedBefore: Totals | undefined;
  #recalled = false;
  #rememberedGeneration = 0;
  /** Another policy was in force here last, or one that cannot be read any more, and ours is only a copy: which is the later one nobody can tell. */
  #mayBeGone = false;

  constructor(options: CacheWorkerOptions) {
    this.#options = options;
  }

  get totals(): Totals {
    return this.#totals ?? this.#toldTotals;
  }

  get countedBefore(): Totals {
    return this.#countedBefore ?? this.#toldTotals;
  }

  /**
   * What was enforced here before has been read, and is no later policy: a mounted copy may lag behind what an earlier agent was told. The API server
   * does not lag: an older generation there means that its storage was restored, and is what the cluster goes by now.
   */
  get allowsEnforcing(): boolean {
    return this.#recalled && !this.#outdated;
  }

  get #outdated(): boolean {
    return this.#mayBeGone || (this.#isOlder && this.#options.origin !== 'Source');
  }

  get #isOlder(): boolean {
    return this.#rememberedGeneration > this.#options.policy.policy.generation;
  }

  get #place(): MemoryPlace {
    const { root, format } = this.#options.spec;
    return { root, format, allowedRoots: this.#options.allowedRoots };
  }

  /** What was reported last, by this agent or by one before it: stands until the disk can be asked, and never falls. */
  get #toldTotals(): Totals {
    return larger(this.#options.previous?.totals ?? noTotals, this.#options.knownTotals ?? noTotals);
  }

  /** What was enforced and counted here before; once, as soon as the directory can be read. Another policy of the same name counts anew. */
  recall(): void {
    if (this.#recalled) return;
    const { uid, generation } = this.#options.policy.policy;
    let memory: CacheMemory | undefined;
    let isFirst: boolean;
    try {
      memory = readMemory(this.#place);
      isFirst = !hasMemory(this.#place);
    } catch (error) {
      // The look that follows meets the same obstacle, and says so.
      if (error instanceof OperatorError) return;
      throw error;
    }
    const own = memory?.policy.uid === uid ? memory : undefined;
    this.#totals = own === undefined ? this.#toldTotals : larger(own.totals, this.#toldTotals);
    this.#countedBefore = this.#totals;
    this.#rememberedGeneration = own?.policy.generation ?? 0;
    this.#mayBeGone = this.#options.origin === 'Copy' && !isFirst && own === undefined;
    this.#recalled = true;
    // From here on no older one is enforced, also where this one evicts nothing.
    const about = { cache: this.#options.spec.name, generation, enforced: this.#rememberedGeneration };
    if (this.#outdated) this.#options.log.warn(about, 'the policy may be older than the one in force last; nothing is evicted by it');
    else if (this.#isOlder) this.#options.log.warn(about, 'the API server has an older policy than the one in force last, as after a restore of its storage; the older one is enforced');
    if (own !== undefined && !this.#outdated) this.count((totals) => totals);
  }

  /** What was counted outlives the agent. A state that cannot be written is no reason to stop: it is written again after the next run. */
  count(add: (totals: Totals) => Totals): void {
    const { uid, generation } = this.#options.policy.policy;
    const before = this.#totals ?? noTotals;
    this.#totals = add(before);
    if (this.#rememberedGeneration === generation && isDeepStrictEqual(this.#totals, before)) return;
    try {
      // Another agent in the same cache may have counted meanwhile: what it wrote must not fall.
      const memory = readMemory(this.#place);
      const written = memory?.policy.uid === uid ? larger(memory.totals, before) : before;
      writeMemory(this.#place, { policy: { uid, generation }, totals: add(written) });
      this.#rememberedGeneration = generation;
    } catch (error) {
      this.#options.log.warn({ cache: this.#options.spec.name, err: error }, 'the totals could not be saved; they are kept in memory');
    }
  }
}
