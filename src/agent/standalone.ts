import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import type { CompiledPolicy } from '../policy/compiled.ts';
import type { CacheState, NodeReport } from '../policy/node-report.ts';
import { nodeReport } from '../policy/node-report.ts';
import { markOf } from './file-at-rest.ts';
import type { LoopOptions, PolicySource, ReportSink } from './loop.ts';
import { runLoop } from './loop.ts';
import { isMaterial } from './report-pacing.ts';
import { SettledMark } from './settled-mark.ts';

export interface StandaloneOptions extends Pick<LoopOptions, 'allowedRoots' | 'log' | 'settleMs' | 'restMs'> {
  /** Read again when it has changed, and then stood still from one look to the next. */
  readonly file: string;
  /** Reads and checks the file. @throws OperatorError where it is wrong */
  readonly load: () => Promise<readonly CompiledPolicy[]>;
  /** What was loaded first, from the file as it bore the mark. */
  readonly first: { readonly policies: readonly CompiledPolicy[]; readonly mark: string };
}

const pollMs = 2_000;

/** Enforces the policies of a file on this machine until the signal comes. A file that turns bad leaves the last good policies in force. */
export async function runStandalone(options: StandaloneOptions, signal: AbortSignal): Promise<void> {
  const { load, file, log, first } = options;
  const loops = new Map<string, PolicyLoop>();
  const mark = new SettledMark(first.mark);
  let policies: readonly CompiledPolicy[] | undefined = first.policies;
  while (!signal.aborted) {
    if (policies !== undefined) await assign(policies, loops, options);
    await sleep(pollMs, undefined, { signal }).catch(() => undefined);
    policies = mark.isNew(markOf(file)) && !signal.aborted ? await loadAgain(load, log) : undefined;
  }
  await Promise.all([...loops.values()].map((loop) => loop.end()));
}

async function loadAgain(load: StandaloneOptions['load'], log: Log): Promise<readonly CompiledPolicy[] | undefined> {
  try {
    return await load();
  } catch (error) {
    log.error({ err: error }, `the policies stay as they were: ${messageOf(error)}`);
    return undefined;
  }
}

/** Policies that are new start, those that changed are handed on, those that are gone end. */
async function assign(policies: readonly CompiledPolicy[], loops: Map<string, PolicyLoop>, options: StandaloneOptions): Promise<void> {
  for (const [name, loop] of loops) {
    if (policies.some(({ policy }) => policy.name === name)) continue;
    await loop.end();
    loops.delete(name);
    options.log.info({ policy: name }, 'no longer in the file: its caches are left alone');
  }
  for (const policy of policies) {
    const { name } = policy.policy;
    const loop = loops.get(name) ?? new PolicyLoop({ ...options, nodeName: hostname() });
    loops.set(name, loop);
    loop.set(policy);
  }
}

/** The loop of one policy of the file, and the source that feeds it. */
class PolicyLoop implements PolicySource {
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #onPolicy: ((policy: CompiledPolicy) => void) | undefined;

  constructor(options: LoopOptions) {
    this.#running = runLoop(this, new LogSink(options.log), this.#stop.signal, options);
  }

  follow(signal: AbortSignal, onPolicy: (policy: CompiledPolicy) => void): Promise<void> {
    this.#onPolicy = onPolicy;
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  set(policy: CompiledPolicy): void {
    this.#onPolicy?.(policy);
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

/** Tells changes of the caches as lines of the log. */
class LogSink implements ReportSink {
  readonly #log: Log;
  #told: NodeReport | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  report(policy: CompiledPolicy, states: readonly CacheState[]): void {
    const report = nodeReport(states);
    if (!isMaterial(this.#told, report)) return;
    this.#told = report;
    for (const { name, stats, size, usage, wouldEvict, problem } of report.caches) {
      if (problem !== undefined) this.#log.warn({ policy: policy.policy.name, cache: name }, problem.message);
      else this.#log.info({ policy: policy.policy.name, cache: name, entries: stats?.entryCount, size, usage, over: wouldEvict?.entries }, 'looked');
    }
  }
}
