import { execFileSync } from 'node:child_process';
import { beforeEach, describe, expect, it } from 'vitest';
import { AgentMetrics } from '../../src/agent/metrics.ts';
import type { PassReport, PurgeReport } from '../../src/cache/report.ts';
import { Metrics } from '../../src/observe/metrics.ts';
import type { CompiledPolicy } from '../../src/policy/compiled.ts';
import { noLimits } from '../../src/policy/limits.ts';
import type { CacheState } from '../../src/policy/node-report.ts';
import { noTotals } from '../../src/policy/node-report.ts';
import type { Family } from '../observe/exposition.ts';
import { parseExposition } from '../observe/exposition.ts';

const policy = {} as CompiledPolicy;
const some = { entries: 2, bytes: 200 };
const none = { entries: 0, bytes: 0 };

const look: NonNullable<CacheState['look']> = {
  stats: { entryCount: 8, totalBytes: 4096 }, held: { inUse: some, kept: { entries: 1, bytes: 10 }, recent: none }, inUseBy: new Map([['Box', some], ['Mount', none]]),
  wouldEvict: { entries: 3, bytes: 30 }, failed: 0, unreachable: [{ limit: 'MaxBytes', allowed: 1, remaining: 2 }], expiredPins: 0, allHeldBy: undefined, damaged: 1, leftovers: 2,
  unrecognised: 3, clockAhead: 0, holdSources: ['Box', 'Mount'], filesystem: { capacityBytes: 1e12, availableBytes: 5e11 },
};

function aState(but: Partial<CacheState> = {}): CacheState {
  return { name: 'rootfs', limits: { ...noLimits, maxEntries: 4, maxIdleMs: 90_000 }, look, lastRun: undefined, totals: noTotals, problem: undefined, ...but };
}

function aPass(but: Partial<PassReport> = {}): PassReport {
  return {
    mode: 'Enforce', trigger: 'Change', startedAtMs: 1_000, finishedAtMs: 5_500, before: { filesRead: 7 }, revived: 1, raced: 2, longestLockMs: 3,
    evicted: [{ key: 'a', description: 'x', sizeBytes: 100, freedBytes: 100, reason: 'MaxEntries' }, { key: 'b', description: 'y', sizeBytes: 50, freedBytes: 50, reason: 'MaxIdle' }],
    errors: [{ code: 'ERR_DISK_IO', message: '' }], ...but,
  } as PassReport;
}

const aPurge: PurgeReport = { purgedEntries: 2, purgedBytes: 150, revived: 1, revivedNames: [], nextDueAtMs: null, errors: [] };

let metrics: Metrics;
let agent: AgentMetrics;
beforeEach(() => {
  metrics = new Metrics();
  metrics.registry.setDefaultLabels({ policy: 'p' });
  agent = new AgentMetrics(metrics);
});

const scrape = async (): Promise<ReadonlyMap<string, Family>> => parseExposition((await metrics.render()).text);

/** `labels value` of each sample of a family, without the policy. */
async function samples(name: string): Promise<string[]> {
  const family = (await scrape()).get(`cachepolicy_${name}`);
  return (family?.samples ?? []).map(({ labels, value }) => `${Object.keys(labels).filter((label) => label !== 'policy').map((label) => labels[label]).toSorted().join(' ')} ${value}`);
}

describe('the metrics of an agent', () => {
  it.each([
    ['cache_entries', ['rootfs 8']], ['cache_bytes', ['rootfs 4096']], ['cache_limit_entries', ['rootfs 4']], ['cache_limit_bytes', []],
    ['cache_limit_idle_seconds', ['rootfs 90']], ['cache_usage_ratio', ['rootfs 2']],
    ['cache_held_entries', ['Box rootfs 2', 'Mount rootfs 0', 'Kept rootfs 1', 'Recent rootfs 0']], ['cache_held_bytes', ['Box rootfs 200', 'Mount rootfs 0', 'Kept rootfs 10', 'Recent rootfs 0']],
    ['cache_would_evict_entries', ['rootfs 3']], ['cache_would_evict_bytes', ['rootfs 30']], ['cache_limit_unreachable', ['MaxBytes rootfs 1']],
    ['cache_damaged_entries', ['rootfs 1']], ['cache_leftovers', ['rootfs 2']], ['cache_unrecognised_names', ['rootfs 3']],
    ['cache_filesystem_capacity_bytes', ['rootfs 1000000000000']], ['cache_filesystem_available_bytes', ['rootfs 500000000000']],
    ['cache_problem', []], ['cache_last_run_timestamp_seconds', ['rootfs 9']],
  ])('say %s as the last look found it', async (name, expected) => {
    agent.report(policy, [aState({ lastRun: { finishedAtMs: 9_000, trigger: 'Change', evictedEntries: 0, evictedBytes: 0, errors: 0 } })]);
    expect(await samples(name)).toEqual(expected);
  });

  it('show nothing of a cache that cannot be read but its limits, and why', async () => {
    agent.report(policy, [aState({ look: undefined, problem: { reason: 'RootMissing', message: 'm' } })]);
    const shown = [...(await scrape())].filter(([, { samples: all }]) => all.length > 0).map(([name]) => name.replace('cachepolicy_cache_', ''));
    expect(shown).toEqual(['limit_entries', 'limit_idle_seconds', 'problem', 'longest_lock_hold_seconds']);
    expect(await samples('cache_problem')).toEqual(['RootMissing rootfs 1']);
  });

  it('say no more what is over', async () => {
    agent.report(policy, [aState({ problem: { reason: 'LockBusy', message: 'm' } })]);
    expect(await samples('cache_problem')).toEqual(['LockBusy rootfs 1']);
    agent.report(policy, [aState({ look: { ...look, unreachable: [] } })]);
    expect([await samples('cache_problem'), await samples('cache_limit_unreachable')]).toEqual([[], []]);
  });

  it('say that something is infinitely over a limit of zero', async () => {
    agent.report(policy, [aState({ limits: { ...noLimits, maxEntries: 0 } })]);
    expect(await samples('cache_usage_ratio')).toEqual(['rootfs Infinity']);
    expect(await samples('cache_limit_entries')).toEqual(['rootfs 0']);
  });

  it('count what passes and purges did, by reason and trigger', async () => {
    agent.report(policy, [aState()]);
    agent.passed('rootfs', aPass());
    agent.passed('rootfs', aPass({ trigger: 'Schedule', longestLockMs: 1 }));
    agent.passed('rootfs', aPass({ mode: 'DryRun', evicted: [], startedAtMs: 5, finishedAtMs: 6, errors: [], revived: 0, raced: 0 }));
    agent.purged('rootfs', aPurge);
    expect(await samples('cache_evicted_entries_total')).toEqual(['Change MaxEntries rootfs 1', 'Change MaxIdle rootfs 1', 'MaxEntries Schedule rootfs 1', 'MaxIdle Schedule rootfs 1']);
    expect(await samples('cache_evicted_bytes_total')).toEqual(['Change MaxEntries rootfs 100', 'Change MaxIdle rootfs 50', 'MaxEntries Schedule rootfs 100', 'MaxIdle Schedule rootfs 50']);
    expect([await samples('cache_revived_entries_total'), await samples('cache_raced_entries_total')]).toEqual([['rootfs 3'], ['rootfs 4']]);
    expect([await samples('cache_purged_entries_total'), await samples('cache_purged_bytes_total')]).toEqual([['rootfs 2'], ['rootfs 150']]);
    expect([await samples('cache_errors_total'), await samples('cache_files_read_total')]).toEqual([['ERR_DISK_IO rootfs 2'], ['rootfs 21']]);
    expect(await samples('cache_longest_lock_hold_seconds')).toEqual(['rootfs 0.003']);
    const durations = (await scrape()).get('cachepolicy_cache_pass_duration_seconds')?.samples.filter(({ name }) => /_(sum|count)$/.test(name));
    expect(durations?.map(({ name, labels, value }) => [name.slice(-3), labels['act'], value])).toEqual([['sum', 'run', 9], ['unt', 'run', 2], ['sum', 'look', 0.001], ['unt', 'look', 1]]);
  });

  it('forget a cache that leaves the policy, and count anew where it comes back', async () => {
    agent.report(policy, [aState(), aState({ name: 'layers' })]);
    for (const name of ['rootfs', 'layers']) {
      agent.passed(name, aPass());
      agent.purged(name, aPurge);
    }
    agent.report(policy, [aState({ name: 'layers' })]);
    const text = (await metrics.render()).text;
    expect(text).not.toContain('rootfs');
    expect(text).toContain('cachepolicy_cache_evicted_entries_total{cache="layers",reason="MaxIdle",trigger="Change",policy="p"} 1\n');
    agent.report(policy, [aState()]);
    agent.passed('rootfs', aPass());
    expect(await samples('cache_purged_entries_total')).toEqual([]);
    expect(await samples('cache_files_read_total')).toEqual(['rootfs 7']);
  });

  it('carry no label but the policy, the cache and what comes from a closed list', async () => {
    agent.report(policy, [aState({ problem: { reason: 'LockBusy', message: 'secret-image' } })]);
    agent.passed('rootfs', aPass());
    const names = [...(await scrape()).values()].flatMap((family) => family.samples.flatMap(({ labels }) => Object.keys(labels)));
    expect([...new Set(names)].toSorted()).toEqual(['act', 'cache', 'code', 'le', 'limit', 'policy', 'reason', 'source', 'trigger']);
    expect((await metrics.render()).text).not.toContain('secret');
  });

  it('are what promtool takes, where it is installed', async () => {
    agent.report(policy, [aState(), aState({ name: 'layers', look: undefined })]);
    agent.passed('rootfs', aPass());
    const { text } = await metrics.render();
    expect(parseExposition(text).size).toBeGreaterThan(25);
    try {
      execFileSync('promtool', ['check', 'metrics'], { input: text, stdio: ['pipe', 'pipe', 'pipe'] });
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOENT') throw error;
    }
  });
});
