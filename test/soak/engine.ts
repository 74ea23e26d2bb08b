/** A process with the engine in it, at work without a pause. Tells its parent what each pass did. */
import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cache } from '../../src/cache/pass.ts';
import type { PassError, PassReport } from '../../src/cache/report.ts';
import type { Fault } from '../../src/disk/dir.ts';
import { loadEngine } from '../cache/weakened-engine.ts';
import { Random } from './soak.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';

export interface EngineOptions {
  /** The module that exports `Cache`. */
  readonly module: string;
  readonly home: string;
  readonly maxEntries: number;
  readonly settleMs: number;
  readonly restMs: number;
  readonly seed: number;
}

export type EngineEvent =
  | {
    readonly event: 'Pass'; readonly evicted: number; readonly revived: number; readonly raced: number; readonly errors: readonly string[];
    /** Keys that went although somebody had written their metadata since the plan. */
    readonly unplanned: readonly string[];
  }
  | { readonly event: 'Purge'; readonly purged: number; readonly revived: number; readonly errors: readonly string[] };

async function main({ module, home, maxEntries, settleMs, restMs, seed }: EngineOptions): Promise<void> {
  const stop = new AbortController();
  process.on('message', () => stop.abort());
  process.on('disconnect', () => process.exit(stop.signal.aborted ? 0 : 1));
  const root = join(home, 'cache', 'rootfs');
  const Engine: typeof Cache = await loadEngine(module);
  using cache = new Engine(
    { name: 'rootfs', format: 'a3s-rootfs', root, home, limits: { ...noLimits, maxEntries }, protect: noProtection },
    { allowedRoots: [dirname(home)], settleMs, restMs, fault: hesitating(new Random(seed)) },
  );
  // To the end: until nothing is left to do.
  for (let quiet = 0; !stop.signal.aborted || quiet < 3; quiet += 1) {
    const report = await cache.pass({ mode: 'Enforce', trigger: 'Change' });
    tell({
      event: 'Pass', evicted: report.evicted.length, revived: report.revived, raced: report.raced,
      errors: messages(report.errors), unplanned: unplanned(report, root),
    });
    if (report.evicted.length > 0 || !stop.signal.aborted) quiet = 0;
    // A little later than the first is due, so that the whole batch goes before the next pass looks at it.
    await sleep(report.purgeDueAtMs === null ? 20 : Math.max(0, report.purgeDueAtMs - Date.now()) + 40);
    const { purgedEntries, revived, errors } = await cache.purge();
    tell({ event: 'Purge', purged: purgedEntries, revived, errors: messages(errors) });
  }
  process.disconnect();
}

/** A marker that is being written names no key for a moment, and on a full disk for longer: then everything is held, and the agent says so. */
function messages(errors: readonly PassError[]): string[] {
  return errors.filter(({ code }) => code !== 'ERR_HOLDS_UNREADABLE').map(({ message }) => message);
}

/** An engine that loses the processor before a step now and then, for as long as others need to act in between. */
function hesitating(random: Random): Fault {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  return () => {
    if (random.chance(0.05)) Atomics.wait(cell, 0, 0, random.below(20));
  };
}

/** What lies in the trash must not be newer than what was planned with: a version written later was a use. */
function unplanned({ evicted, before }: PassReport, root: string): string[] {
  const trash = join(root, '.cachepolicy', 'trash');
  const items = readdirSync(trash);
  const planned = new Map([...before.entries].map((entry) => [entry.key, entry.stamp.changedNs]));
  return evicted.map(({ key }) => key).filter((key) => {
    const own = items.filter((id) => id.endsWith(`.${key}`)).map((id) => statSync(join(trash, id, 'meta'), { bigint: true, throwIfNoEntry: false }));
    return own.some((meta) => meta !== undefined && meta.mtimeNs > (planned.get(key) ?? 0n));
  });
}

function tell(event: EngineEvent): void {
  if (process.connected) process.send?.(event);
}

if (process.send !== undefined) await main(JSON.parse(process.argv[2] ?? '') as EngineOptions);
