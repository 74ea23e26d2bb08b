import { Room } from '../cache/room.ts';
import type { Log } from '../observe/log.ts';
import type { CompiledPolicy, Schedule } from '../policy/compiled.ts';
import type { CacheState, Totals } from '../policy/node-report.ts';
import type { CacheWorkerOptions } from './cache-worker-options.ts';
import { CacheWorker } from './cache-worker.ts';
import { FreeSpaceWatch } from './free-space-watch.ts';
import type { Witness } from './metrics.ts';

/** Where the policy in force comes from. */
export interface PolicySource {
  /** Calls for the first policy and for each later one, and ends with the signal. */
  follow(signal: AbortSignal, onPolicy: (policy: CompiledPolicy, origin?: Origin) => void): Promise<void>;
}

/** A copy may be older than what was told before, even of a policy that is gone. Default: Source. */
export type Origin = 'Source' | 'Copy';

/** Where the state of the caches goes. Decides itself what is worth telling when; a delivery that fails is its own to repeat. */
export interface ReportSink {
  report(policy: CompiledPolicy, states: readonly CacheState[]): void;
}

export interface LoopOptions {
  readonly allowedRoots: readonly string[];
  readonly log: Log;
  readonly settleMs?: number | undefined;
  readonly restMs?: number | undefined;
  /** How often each cache is looked at for signs of change. Default 1 s. */
  readonly tickMs?: number | undefined;
  /** How often the filesystems are asked how much is free. Default 5 s. */
  readonly freeSpaceEveryMs?: number | undefined;
  /** Decides this node's share of a schedule's jitter. */
  readonly nodeName: string;
  /** Told of everything that is done to a cache. */
  readonly witness?: Witness | undefined;
  /** What earlier agents counted here, by cache, where the node's own totals have been lost. */
  readonly knownTotals?: (policy: CompiledPolicy) => Promise<ReadonlyMap<string, Totals>>;
}

/** What a pass takes out is kept in mind until it rests: 100,000 entries at once would be more than the agent's heap. */
const mostAtOnce = 3_000;

/** Of all caches of a policy. An entry takes the agent half a KiB, a quarter of it heap, of which there are 48 MiB; its pod has 160 MiB. */
const mostEntries = 150_000;

/** Keeps every cache of the policy in force within its limits, until the signal comes. */
export async function runLoop(source: PolicySource, sink: ReportSink, signal: AbortSignal, options: LoopOptions): Promise<void> {
  let shift: Shift | undefined;
  // Policies are taken up one after another: the next waits until the last one's work has stopped at a safe step.
  let handover = Promise.resolve();
  await source.follow(signal, (policy, origin) => {
    handover = handover.then(async () => {
      await shift?.end();
      if (signal.aborted) return;
      const { name, generation } = policy.policy;
      options.log.info({ policy: name, generation, mode: policy.mode, accepted: policy.accepted }, 'policy in force');
      const previous = shift?.policyUID === policy.policy.uid ? shift.states : [];
      shift = new Shift(policy, sink, await workersFor(policy, { ...options, origin, mostAtOnce, room: new Room(mostEntries) }, previous), options);
    });
  });
  await handover;
  await shift?.end();
}

async function workersFor(policy: CompiledPolicy, options: LoopOptions & Partial<Pick<CacheWorkerOptions, 'origin' | 'mostAtOnce' | 'room'>>, previous: readonly CacheState[]): Promise<CacheWorker[]> {
  const nextDueAtMs = await nextDueOf(policy.schedule, options.nodeName);
  const known = await options.knownTotals?.(policy);
  return policy.caches.map((spec) => new CacheWorker({
    ...options, policy, spec, nextDueAtMs, previous: previous.find((state) => state.name === spec.name), knownTotals: known?.get(spec.name),
  }));
}

/** Cron and time zones are loaded only where a schedule is set: they cost the agent 6 MiB. */
async function nextDueOf(schedule: Schedule | null, nodeName: string): Promise<(afterMs: number) => number | null> {
  if (schedule === null) return () => null;
  const { nextRun } = await import('../policy/schedule.ts');
  return (afterMs) => nextRun(schedule, nodeName, afterMs);
}

/** The workers of one policy, from the moment it is in force to the moment it no longer is. */
class Shift {
  readonly policyUID: string;
  readonly #stop = new AbortController();
  readonly #workers: readonly CacheWorker[];
  readonly #running: Promise<unknown>;

  constructor(policy: CompiledPolicy, sink: ReportSink, workers: readonly CacheWorker[], { log, freeSpaceEveryMs }: LoopOptions) {
    this.policyUID = policy.policy.uid;
    this.#workers = workers;
    // A report speaks of every cache: the first goes out when each has been looked at under this policy.
    const onChange = () => {
      if (this.#workers.every((worker) => worker.hasLooked)) sink.report(policy, this.states);
    };
    const watch = new FreeSpaceWatch(workers, { log, everyMs: freeSpaceEveryMs });
    this.#running = Promise.all([...this.#workers.map((worker) => worker.run(this.#stop.signal, onChange)), watch.run(this.#stop.signal, onChange)]);
  }

  get states(): readonly CacheState[] {
    return this.#workers.map((worker) => worker.state);
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    for (const worker of this.#workers) worker[Symbol.dispose]();
  }
}
