import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Store } from '../kube/store.ts';
import { Conflicts } from '../policy/conflict.ts';
import type { Assessment, PolicyObject } from './admission.ts';
import { assess, claimOf } from './admission.ts';

/** What one policy is among all, as of the last decision. */
export interface Decision {
  readonly assessment: Assessment;
  /** The policy that governs in its place. */
  readonly winner: PolicyObject | undefined;
}

export interface StandingsOptions {
  readonly policies: Pick<Store<PolicyObject>, 'get' | 'values' | 'subscribe'>;
  readonly allowedRoots: () => readonly string[];
  readonly runningAgents: (policyName: string) => number;
  /** Called for each policy that was assessed again, or whose winner is another: those that lost come first, so that their agents stop before others begin. */
  readonly onDecided: (policyName: string) => void;
}

interface Of {
  readonly of: PolicyObject;
  /** What its agents have: once the policy is under deletion, an edit of its spec does not reach them. */
  readonly spec: PolicyObject['spec'];
}
type Assessed = Of & ({ readonly assessment: Assessment } | { readonly error: unknown });

/** Longer would delay what else the process does, such as the renewal of its lease; milliseconds. */
const sliceMs = 5;

/**
 * Decides which policies govern, once for each change of the set of policies, of the allowed roots, or of the agents of a policy under deletion: never
 * for a reconcile. The work is done in slices, so that a thousand policies hold up neither the lease nor the watches.
 */
export class Standings {
  readonly #options: StandingsOptions;
  readonly #conflicts = new Conflicts();
  readonly #assessed = new Map<string, Assessed>();
  /** By loser. */
  readonly #winners = new Map<string, string>();
  /** To be assessed again. */
  #pending = new Set<string>();
  #deciding: Promise<void> | undefined;
  #ended = false;
  readonly #unsubscribe: () => void;

  constructor(options: StandingsOptions) {
    this.#options = options;
    const changed = ({ metadata: { name } }: PolicyObject) => this.#assessAgain([name]);
    this.#unsubscribe = options.policies.subscribe({
      added: changed,
      updated: (now, before) => {
        if (!isSameSpec(now, before)) changed(now);
      },
      deleted: changed,
    });
  }

  end(): void {
    this.#ended = true;
    this.#unsubscribe();
  }

  /** Resolves when all that has changed so far is decided. */
  async settled(): Promise<void> {
    while (this.#deciding !== undefined) await this.#deciding;
  }

  allowedRootsChanged(): void {
    this.#assessAgain([...this.#options.policies.values()].map(({ metadata: { name } }) => name));
  }

  agentsChanged(policyName: string): void {
    if (this.#options.policies.get(policyName)?.metadata.deletionTimestamp !== undefined) this.#assessAgain([policyName]);
  }

  /**
   * @returns undefined while this spec of the policy is not decided; `onDecided` says when it is
   * @throws ERR_BUG where it cannot be assessed
   */
  of(policy: PolicyObject): Decision | undefined {
    const { name } = policy.metadata;
    const assessed = this.#assessed.get(name);
    if (assessed === undefined || !isSameSpec(policy, assessed.of)) return undefined;
    if ('error' in assessed) throw assessed.error;
    const winner = this.#winners.get(name);
    return { assessment: assessed.assessment, winner: winner === undefined ? undefined : this.#assessed.get(winner)?.of };
  }

  #assessAgain(names: readonly string[]): void {
    if (this.#ended) return;
    for (const name of names) this.#pending.add(name);
    // It ends in the same turn in which it finds nothing pending: what is added later begins another.
    this.#deciding ??= this.#decide();
  }

  async #decide(): Promise<void> {
    const slice = new Slice();
    try {
      // A list and a burst of events are one change.
      await slice.end();
      while (this.#pending.size > 0 && !this.#ended) await this.#decideOnce(slice);
    } finally {
      this.#deciding = undefined;
    }
  }

  async #decideOnce(slice: Slice): Promise<void> {
    const names = this.#pending;
    this.#pending = new Set();
    const allowedRoots = this.#options.allowedRoots();
    const assessed = new Map<string, Assessed | undefined>();
    for (const name of names) {
      assessed.set(name, await this.#assess(name, allowedRoots));
      if (slice.isOver) await slice.end();
    }
    const steps = this.#conflicts.resolve();
    let step = steps.next();
    for (; step.done !== true; step = steps.next()) if (slice.isOver) await slice.end();
    if (!this.#ended) this.#publish(assessed, step.value);
  }

  async #assess(name: string, allowedRoots: readonly string[]): Promise<Assessed | undefined> {
    const policy = this.#options.policies.get(name);
    const of = policy && { of: policy, spec: this.#specOfAgents(policy) };
    const assessed = of && (await assess(of.of, allowedRoots).then((assessment) => ({ ...of, assessment }), (error: unknown) => ({ ...of, error })));
    const claim = assessed !== undefined && 'assessment' in assessed ? claimOf({ ...assessed.of, spec: assessed.spec }, assessed.assessment, this.#options.runningAgents(name)) : undefined;
    if (claim === undefined) this.#conflicts.delete(name);
    else this.#conflicts.set(claim);
    return assessed;
  }

  /** A controller that started after the deletion has seen only the present spec. */
  #specOfAgents({ metadata: { name, uid, deletionTimestamp }, spec }: PolicyObject): PolicyObject['spec'] {
    const before = this.#assessed.get(name);
    return deletionTimestamp !== undefined && before !== undefined && before.of.metadata.uid === uid ? before.spec : spec;
  }

  /** All at once: between two decisions a reconcile sees the one before. */
  #publish(assessed: ReadonlyMap<string, Assessed | undefined>, changed: ReadonlySet<string>): void {
    for (const [name, each] of assessed) {
      if (each === undefined) this.#assessed.delete(name);
      else this.#assessed.set(name, each);
    }
    const names = [...new Set([...assessed.keys(), ...changed])];
    for (const name of names) {
      const winner = this.#conflicts.winnerOver(name);
      if (winner === undefined) this.#winners.delete(name);
      else this.#winners.set(name, winner);
    }
    const lost = names.filter((name) => this.#winners.has(name));
    for (const name of new Set([...lost, ...names])) this.#options.onDecided(name);
  }
}

/** Whether nothing differs that a decision is made from. */
function isSameSpec({ metadata: a }: PolicyObject, { metadata: b }: PolicyObject): boolean {
  return a.uid === b.uid && a.generation === b.generation && a.deletionTimestamp === b.deletionTimestamp;
}

/** Some milliseconds of work; at its end timers and sockets get their turn. */
class Slice {
  #startedAtMs = performance.now();

  get isOver(): boolean {
    return performance.now() - this.#startedAtMs >= sliceMs;
  }

  async end(): Promise<void> {
    await nextTurn();
    this.#startedAtMs = performance.now();
  }
}
