import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { LoopOptions, Origin, PolicySource, ReportSink } from '../../src/agent/loop.ts';
import { runLoop } from '../../src/agent/loop.ts';
import { createLog } from '../../src/observe/log.ts';
import type { CompiledPolicy } from '../../src/policy/compiled.ts';
import type { CacheState } from '../../src/policy/node-report.ts';
import { asRoot } from '../disk/scratch.ts';
import type { Image } from '../fixtures/homes.ts';
import { images, rootfsKeys, unpackHome } from '../fixtures/homes.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';

/** Something that should take seconds and has not come after this is a failure. */
const patienceMs = 15_000;
const settleMs = 50;

let dir: string;
let home: string;
let agents: Agent[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'cachepolicy-loop-'));
  home = join(dir, 'home');
  agents = [];
});
afterEach(async () => {
  await Promise.all(agents.map((agent) => agent.stop()));
  if (asRoot && existsSync(home)) spawnSync('umount', [home]);
  rmSync(dir, { recursive: true });
});

type Change = Partial<Omit<CompiledPolicy, 'policy' | 'caches'>> & { maxEntries?: number; generation?: number; uid?: string; name?: string };

/** A policy for the rootfs store of the home, in its first generation. */
function aPolicy({ maxEntries = 8, generation = 1, uid = 'uid-1', ...but }: Change = {}): CompiledPolicy {
  return {
    formatVersion: 1, policy: { name: 'a3s-box', uid, generation }, accepted: true, mode: 'Enforce', schedule: null,
    caches: [{
      name: 'rootfs', format: 'a3s-rootfs', root: join(home, 'cache/rootfs'), home,
      limits: { ...noLimits, maxEntries }, protect: { ...noProtection, minIdleMs: 5_000 },
    }],
    ...but,
  };
}

/** A loop at work: the policies come from `set`, the reports and the log are kept. */
class Agent implements PolicySource, ReportSink {
  readonly reports: { generation: number; states: readonly CacheState[] }[] = [];
  readonly log: string[] = [];
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #onPolicy: (policy: CompiledPolicy, origin?: Origin) => void = () => undefined;
  #waiting: (() => void)[] = [];

  constructor(policy?: CompiledPolicy, options: Partial<LoopOptions> = {}) {
    agents.push(this);
    const log = createLog({ format: 'json', write: (line) => this.log.push(line) });
    this.#running = runLoop(this, this, this.#stop.signal, { allowedRoots: [dir], log, settleMs, tickMs: 50, nodeName: 'node-1', ...options });
    if (policy !== undefined) this.set(policy);
  }

  follow(signal: AbortSignal, onPolicy: (policy: CompiledPolicy, origin?: Origin) => void): Promise<void> {
    this.#onPolicy = onPolicy;
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  set(policy: CompiledPolicy, origin?: Origin): void {
    this.#onPolicy(policy, origin);
  }

  report(policy: CompiledPolicy, states: readonly CacheState[]): void {
    this.reports.push({ generation: policy.policy.generation, states });
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** The state of the rootfs cache in the first report, from now or before, that says so. */
  async until(says: (state: CacheState) => boolean, generation = 1): Promise<CacheState> {
    const endMs = Date.now() + patienceMs;
    for (;;) {
      const found = this.reports.filter((report) => report.generation === generation).map(({ states }) => states[0]!).find(says);
      if (found !== undefined) return found;
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`nothing of the kind was reported; the last report is ${JSON.stringify(this.reports.at(-1))}`)), endMs - Date.now());
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }
}

/** The images whose entries are whole, least recently used first. */
function left(): Image[] {
  const root = join(home, 'cache/rootfs');
  return images.filter((image) => existsSync(join(root, rootfsKeys[image], 'etc')) && existsSync(join(root, `${rootfsKeys[image]}.meta.json`)));
}

const holding = (entries: number) => ({ look }: CacheState) => look?.stats.entryCount === entries;
const failing = (reason: string) => ({ problem }: CacheState) => problem?.reason === reason;

describe('an agent', () => {
  it('enforces the policy when it starts: the least recently used go, never what is in use', async () => {
    unpackHome(dir);
    const state = await new Agent(aPolicy({ maxEntries: 3 })).until(holding(3));
    expect(left()).toEqual(['redis:8', 'alpine:3.22', 'nginx:1.27']);
    expect(state).toMatchObject({
      lastRun: { trigger: 'Start', evictedEntries: 5, errors: 0 }, totals: { evictedEntries: 5, lastEvictionAtMs: expect.any(Number) },
      look: { held: { inUse: { entries: 1 } }, wouldEvict: { entries: 0 }, holdSources: ['Box', 'Mount', 'Flock'] }, problem: undefined,
    });
    expect(state.totals.evictedBytes).toBeGreaterThan(0);
  });

  it('enforces a lower limit of the next generation, and goes on counting', async () => {
    unpackHome(dir);
    const agent = new Agent(aPolicy({ maxEntries: 6 }));
    await agent.until(holding(6));
    agent.set(aPolicy({ maxEntries: 2, generation: 2 }));
    const state = await agent.until(holding(2), 2);
    expect(left()).toEqual(['redis:8', 'nginx:1.27']);
    expect(state).toMatchObject({ lastRun: { evictedEntries: 4 }, totals: { evictedEntries: 6 } });
  });

  it('tells the figures it knows under every policy from its first report on', async () => {
    unpackHome(dir);
    const agent = new Agent(aPolicy());
    await agent.until(holding(8));
    agent.set(aPolicy({ generation: 2 }));
    await agent.until(holding(8), 2);
    expect(agent.reports.every(({ states }) => states[0]?.look?.stats.entryCount === 8)).toBe(true);
  });

  it('notices within seconds that the cache has been filled again, also right after it has evicted', async () => {
    unpackHome(dir);
    const spare = unpackHome(join(dir, 'spare'));
    // A rest of ten times the settles would outlast the patience of the test.
    const agent = new Agent(aPolicy({ maxEntries: 4 }), { settleMs: 1_000 });
    await agent.until(({ lastRun }) => lastRun?.evictedEntries === 4);
    for (const name of [rootfsKeys['golang:1.26'], `${rootfsKeys['golang:1.26']}.meta.json`]) renameSync(join(spare, 'cache/rootfs', name), join(home, 'cache/rootfs', name));
    const state = await agent.until(({ totals }) => totals.evictedEntries === 5);
    expect(state.lastRun).toMatchObject({ trigger: 'Change', evictedEntries: 1 });
    expect(left()).toEqual(['redis:8', 'busybox:1.37', 'alpine:3.22', 'nginx:1.27']);
  });

  it('works on each cache by itself: one that fails keeps none of the others from being enforced', async () => {
    unpackHome(dir);
    const policy = aPolicy({ maxEntries: 7 });
    const elsewhere = join(dir, 'elsewhere');
    const agent = new Agent({ ...policy, caches: [...policy.caches, { ...policy.caches[0]!, name: 'missing', root: join(elsewhere, 'cache/rootfs'), home: elsewhere }] });
    await agent.until(holding(7));
    expect(agent.reports.at(-1)?.states[1]).toMatchObject({ name: 'missing', look: undefined, problem: { reason: 'RootMissing' } });
  });

  it('reports first when every cache has been looked at', async () => {
    unpackHome(dir);
    const policy = aPolicy();
    const layers = { ...policy.caches[0]!, name: 'layers', format: 'a3s-layers' as const, root: join(home, 'cache/layers') };
    const agent = new Agent({ ...policy, caches: [...policy.caches, layers] });
    await agent.until(holding(8));
    expect(agent.reports[0]?.states.map(({ look }) => look?.stats.entryCount)).toEqual([8, 5]);
  });

  it('leaves a policy behind when the next one comes', async () => {
    unpackHome(dir);
    const spare = unpackHome(join(dir, 'spare'));
    const fill = (image: Image) => {
      for (const name of [rootfsKeys[image], `${rootfsKeys[image]}.meta.json`]) renameSync(join(spare, 'cache/rootfs', name), join(home, 'cache/rootfs', name));
    };
    const agent = new Agent(aPolicy({ maxEntries: 6 }));
    await agent.until(holding(6));
    agent.set(aPolicy({ maxEntries: 8, generation: 2 }));
    await agent.until(holding(6), 2);
    agent.reports.length = 0;
    for (const [image, entries] of [['postgres:17', 7], ['python:3.14-slim', 8]] as const) {
      fill(image);
      await agent.until(holding(entries), 2);
    }
    expect(agent.reports.filter(({ generation }) => generation === 1)).toEqual([]);
  });

  it('stops within a pass when the signal comes, and gives back what was on its way out', async () => {
    unpackHome(dir);
    const agent = new Agent(aPolicy({ maxEntries: 0 }), { settleMs: 60_000 });
    while (left().length === 8) await new Promise((resolve) => setTimeout(resolve, 10));
    await agent.stop();
    expect(left()).toEqual(images);
  });

  it('does nothing more once the signal has come', async () => {
    unpackHome(dir);
    const agent = new Agent(aPolicy());
    await agent.until(holding(8));
    agent.set(aPolicy({ maxEntries: 0, generation: 2 }));
    await agent.stop();
    const told = agent.reports.length;
    const whole = left();
    expect(whole).toContain('redis:8');
    agent.set(aPolicy({ maxEntries: 0, generation: 3 }));
    // Some ticks of what must not be running.
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect([agent.reports.length, left()]).toEqual([told, whole]);
  });
});

describe('a cache directory that is not there', () => {
  it('is reported, and taken up when it appears', async () => {
    const agent = new Agent(aPolicy({ maxEntries: 3 }));
    const missing = await agent.until(failing('RootMissing'));
    expect(missing).toMatchObject({ look: undefined, lastRun: undefined, totals: { evictedEntries: 0 } });
    expect(missing.problem?.message).toBe(`${home} does not exist`);
    renameSync(unpackHome(join(dir, 'new')), home);
    expect(await agent.until(holding(3))).toMatchObject({ problem: undefined, lastRun: { evictedEntries: 5 } });
    expect(left()).toEqual(['redis:8', 'alpine:3.22', 'nginx:1.27']);
  });

  it('loses its figures when it goes, and keeps what was counted', async () => {
    unpackHome(dir);
    const agent = new Agent(aPolicy({ maxEntries: 6 }));
    await agent.until(holding(6));
    renameSync(home, join(dir, 'away'));
    expect(await agent.until(failing('RootMissing'))).toMatchObject({ look: undefined, lastRun: { evictedEntries: 2 }, totals: { evictedEntries: 2 } });
    agent.set(aPolicy({ maxEntries: 6, generation: 2 }));
    expect(await agent.until(failing('RootMissing'), 2)).toMatchObject({ lastRun: { evictedEntries: 2 }, totals: { evictedEntries: 2 } });
    renameSync(join(dir, 'away'), home);
    expect(await agent.until(holding(6), 2)).toMatchObject({ problem: undefined, totals: { evictedEntries: 2 } });
  });

  it('is taken up within seconds when another directory has come in its place', async () => {
    unpackHome(dir);
    const agent = new Agent(aPolicy({ maxEntries: 6 }));
    await agent.until(holding(6));
    const other = unpackHome(join(dir, 'other'));
    renameSync(home, join(dir, 'away'));
    renameSync(other, home);
    expect(await agent.until(({ totals }) => totals.evictedEntries === 4)).toMatchObject({ look: { stats: { entryCount: 6 } }, problem: undefined });
    expect(agent.reports.some(({ states }) => failing('RootReplaced')(states[0]!))).toBe(true);
  });

  it.runIf(asRoot)('is left alone where its disk was unmounted, and what lay below it stays; taken up when the disk is back', async () => {
    const [disk, below] = [join(dir, 'disk'), join(dir, 'below')];
    for (const [at, entries] of [[below, 8], [disk, 8]] as const) expect(readdirSync(join(unpackHome(at), 'cache/rootfs')).filter((name) => !name.includes('.'))).toHaveLength(entries);
    renameSync(join(below, 'home'), home);
    execFileSync('mount', ['--bind', join(disk, 'home'), home]);
    const agent = new Agent(aPolicy({ maxEntries: 6 }));
    await agent.until(holding(6));
    execFileSync('umount', [home]);
    const failed = await agent.until(failing('RootMountChanged'));
    expect(failed).toMatchObject({ look: undefined, problem: { message: `what was mounted at ${home} is gone, and ${home}/cache/rootfs is what lay below it` } });
    expect(left()).toHaveLength(8);
    execFileSync('mount', ['--bind', join(disk, 'home'), home]);
    const reports = agent.reports.length;
    await agent.until((state) => agent.reports.slice(reports).some(({ states }) => states[0] === state) && state.problem === undefined && state.look?.stats.entryCount === 6);
    execFileSync('umount', [home]);
    expect(left()).toHaveLength(8);
  });

  it('is not followed through a link, and says so', async () => {
    unpackHome(dir);
    const agent = new Agent(aPolicy({ maxEntries: 8 }));
    await agent.until(holding(8));
    const canary = unpackHome(join(dir, 'canary'));
    renameSync(home, join(dir, 'away'));
    symlinkSync(canary, home);
    expect((await agent.until(failing('RootSymlink'))).problem?.message).toBe(`${home} is a symbolic link`);
    agent.set(aPolicy({ maxEntries: 0, generation: 2 }));
    await agent.until(failing('RootSymlink'), 2);
    expect(readdirSync(join(canary, 'cache/rootfs')).filter((name) => !name.includes('.'))).toHaveLength(8);
    expect(existsSync(join(canary, 'cache/rootfs/.cachepolicy'))).toBe(false);
  });
});

describe.runIf(asRoot)('a disk without a free inode', () => {
  it('is made room on at once, without a rest, and what was counted is saved when it can be', async () => {
    mkdirSync(home);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', home]);
    unpackHome(dir);
    const agent = new Agent(aPolicy({ maxEntries: 8 }), { restMs: 3_600_000 });
    await agent.until(holding(8));
    const { files, ffree } = statfsSync(home);
    execFileSync('mount', ['-o', `remount,nr_inodes=${files - ffree}`, home]);
    expect(() => writeFileSync(join(home, 'more'), '')).toThrow(/ENOSPC/);
    agent.set(aPolicy({ maxEntries: 6, generation: 2 }));
    expect(await agent.until(holding(6), 2)).toMatchObject({ problem: undefined, totals: { evictedEntries: 2 } });
    await vi.waitFor(() => expect(readdirSync(join(home, 'cache/rootfs/.cachepolicy/trash'))).toEqual([]), patienceMs);
    expect(statfsSync(home).ffree).toBeGreaterThan(10);
    expect(left()).toEqual(images.filter((image) => image !== 'postgres:17' && image !== 'python:3.14-slim'));
    await agent.stop();
    await new Agent(aPolicy({ maxEntries: 6, generation: 3 })).until(holding(6), 3);
    expect(JSON.parse(readFileSync(join(home, 'cache/rootfs/.cachepolicy/state'), 'utf8'))).toMatchObject({ totals: { evictedEntries: 2 } });
  });
});

describe('a policy that may not be applied', () => {
  it.each([
    ['in mode DryRun', { mode: 'DryRun' }],
    ['in mode Suspended', { mode: 'Suspended' }],
    ['that was not accepted', { accepted: false }],
  ] satisfies [string, Change][])('%s evicts nothing, and is reported', async (_, change) => {
    unpackHome(dir);
    const agent = new Agent(aPolicy({ maxEntries: 3, ...change }));
    expect(await agent.until(({ look }) => look !== undefined)).toMatchObject({ look: { stats: { entryCount: 8 } }, lastRun: undefined, totals: { evictedEntries: 0 } });
    await agent.stop();
    expect(left()).toEqual(images);
  });

  it('in mode DryRun shows what would go', async () => {
    unpackHome(dir);
    expect(await new Agent(aPolicy({ maxEntries: 3, mode: 'DryRun' })).until(holding(8))).toMatchObject({ look: { wouldEvict: { entries: 5 } } });
  });

  it('leaves nothing at all behind in the cache', async () => {
    unpackHome(dir);
    const root = join(home, 'cache/rootfs');
    const before = readdirSync(root);
    const agent = new Agent(aPolicy({ maxEntries: 0, mode: 'DryRun' }));
    await agent.until(({ look }) => look !== undefined);
    await agent.stop();
    expect(readdirSync(root)).toEqual(before);
  });

  it('stops a policy that was applied until then', async () => {
    unpackHome(dir);
    const agent = new Agent(aPolicy({ maxEntries: 7 }));
    await agent.until(holding(7));
    agent.set(aPolicy({ maxEntries: 0, generation: 2, accepted: false }));
    expect(await agent.until(({ look }) => look?.wouldEvict.entries === 6, 2)).toMatchObject({ look: { stats: { entryCount: 7 } }, totals: { evictedEntries: 1 } });
    expect(left()).toHaveLength(7);
  });
});

describe('an agent that starts again', () => {
  async function once(policy: CompiledPolicy, entries: number, options: Partial<LoopOptions> = {}): Promise<CacheState> {
    const agent = new Agent(policy, options);
    const state = await agent.until(holding(entries), policy.policy.generation);
    await agent.stop();
    return state;
  }

  it('knows what was counted before', async () => {
    unpackHome(dir);
    const first = await once(aPolicy({ maxEntries: 6 }), 6);
    const second = await once(aPolicy({ maxEntries: 4, generation: 2 }), 4);
    expect(second.totals.evictedEntries).toBe(4);
    expect(second.totals.evictedBytes).toBeGreaterThan(first.totals.evictedBytes);
  });

  it('knows it also when it has nothing to evict', async () => {
    unpackHome(dir);
    const first = await once(aPolicy({ maxEntries: 6 }), 6);
    expect((await once(aPolicy({ maxEntries: 6 }), 6)).totals).toEqual(first.totals);
  });

  it('counts anew for another policy of the same name', async () => {
    unpackHome(dir);
    await once(aPolicy({ maxEntries: 6 }), 6);
    expect((await once(aPolicy({ maxEntries: 5, uid: 'uid-2' }), 5)).totals.evictedEntries).toBe(1);
  });

  it('takes what a report says was counted where the disk does not know', async () => {
    unpackHome(dir);
    const told = { evictedEntries: 40, evictedBytes: 4000, revived: 1, raced: 2, lastEvictionAtMs: 1000 };
    const knownTotals = async () => new Map([['rootfs', told]]);
    expect((await once(aPolicy({ maxEntries: 6 }), 6, { knownTotals })).totals).toMatchObject({ evictedEntries: 42, revived: 1, raced: 2 });
    // From here on the disk knows better.
    expect((await once(aPolicy({ maxEntries: 5 }), 5, { knownTotals })).totals).toMatchObject({ evictedEntries: 43 });
  });

  it('does not enforce an older generation than the one that was enforced last, and says so', async () => {
    unpackHome(dir);
    await once(aPolicy({ maxEntries: 7, generation: 5 }), 7);
    const agent = new Agent(aPolicy({ maxEntries: 0, generation: 4 }));
    const state = await agent.until(({ look }) => look !== undefined, 4);
    expect(state).toMatchObject({ look: { stats: { entryCount: 7 }, wouldEvict: { entries: 6 } }, totals: { evictedEntries: 1 } });
    expect(agent.log.join('')).toContain('older than the one in force last');
    expect(left()).toHaveLength(7);
    agent.set(aPolicy({ maxEntries: 6, generation: 6 }));
    await agent.until(holding(6), 6);
  });

  it('enforces an older generation where the API server itself has no later one, as after a restore of its storage, and remembers that', async () => {
    unpackHome(dir);
    await once(aPolicy({ maxEntries: 8, generation: 5 }), 8);
    const agent = new Agent();
    agent.set(aPolicy({ maxEntries: 7, generation: 4 }), 'Source');
    await agent.until(holding(7), 4);
    expect(agent.log.join('')).toContain('an older policy than the one in force last');
    await agent.stop();
    const next = new Agent();
    next.set(aPolicy({ maxEntries: 6, generation: 4 }), 'Copy');
    await next.until(holding(6), 4);
  });

  it('does not enforce an older generation than one that suspended it, either', async () => {
    unpackHome(dir);
    await once(aPolicy({ maxEntries: 7, generation: 5 }), 7);
    const suspended = new Agent({ ...aPolicy({ maxEntries: 7, generation: 6 }), mode: 'Suspended' });
    await suspended.until(({ look }) => look !== undefined, 6);
    await suspended.stop();
    const agent = new Agent(aPolicy({ maxEntries: 0, generation: 5 }));
    await agent.until(({ look }) => look !== undefined, 5);
    expect(left()).toHaveLength(7);
  });

  it('does not enforce a copy where another policy was in force last, and enforces the same from the source', async () => {
    unpackHome(dir);
    await once(aPolicy({ maxEntries: 7, uid: 'uid-2' }), 7);
    const agent = new Agent();
    agent.set(aPolicy({ maxEntries: 0, generation: 9 }), 'Copy');
    const state = await agent.until(({ look }) => look !== undefined, 9);
    expect(state.look).toMatchObject({ stats: { entryCount: 7 } });
    expect(left()).toHaveLength(7);
    agent.set(aPolicy({ maxEntries: 6, generation: 9 }));
    await agent.until(holding(6), 9);
  });

  it('does not enforce a copy where it cannot be read which policy was in force last', async () => {
    unpackHome(dir);
    await once(aPolicy({ maxEntries: 7, generation: 4 }), 7);
    writeFileSync(join(home, 'cache/rootfs/.cachepolicy/state'), 'torn');
    const agent = new Agent();
    agent.set(aPolicy({ maxEntries: 0, generation: 3 }), 'Copy');
    const state = await agent.until(({ look }) => look !== undefined, 3);
    expect(state.look).toMatchObject({ stats: { entryCount: 7 } });
    expect(left()).toHaveLength(7);
    agent.set(aPolicy({ maxEntries: 6, generation: 5 }));
    await agent.until(holding(6), 5);
  });

  it('remembers the generation also where nothing had to go', async () => {
    unpackHome(dir);
    await once(aPolicy({ maxEntries: 8, generation: 4 }), 8);
    await once(aPolicy({ maxEntries: 8, generation: 5 }), 8);
    expect(JSON.parse(readFileSync(join(home, 'cache/rootfs/.cachepolicy/state'), 'utf8'))).toMatchObject({ policy: { uid: 'uid-1', generation: 5 } });
  });
});
