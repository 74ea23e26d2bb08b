import type { Bench } from './bench.ts';

/** Every bench, one line each: name, what, scale, target. */
export const benches: readonly Bench[] = [
  { name: 'scan', what: 'full scan without an index', at: '100,000 entries', target: { timesBaseline: 1 }, measure: async () => (await import('./scan.ts')).fullScan(100_000) },
  { name: 'rescan', what: 're-scan, nothing changed', at: '100,000 entries', target: { atMost: 5, unit: 'ms' }, measure: async () => (await import('./scan.ts')).rescan(100_000) },
  { name: 'rescan-one', what: 're-scan after one change, with inotify', at: '100,000 entries', target: { atMost: 50, unit: 'ms' }, measure: async () => (await import('./scan.ts')).oneChange(100_000, true) },
  { name: 'rescan-one-polled', what: 're-scan after one change, without inotify', at: '100,000 entries', target: { timesBaseline: 1 }, measure: async () => (await import('./scan.ts')).oneChange(100_000, false) },
  { name: 'restart', what: 'after a restart, 1 % changed', at: '100,000 entries', target: { atMost: 1_010, unit: 'files' }, measure: async () => (await import('./scan.ts')).restart(100_000) },
  { name: 'stats', what: 'cachepolicy stats, a whole process', at: '100,000 entries', target: { timesBaseline: 1 }, measure: async () => (await import('./one-shot.ts')).oneShotStats(100_000, { hasIndex: false }) },
  { name: 'stats-index', what: 'the same where an agent left an index', at: '100,000 entries', target: { timesBaseline: 0.2 }, measure: async () => (await import('./one-shot.ts')).oneShotStats(100_000, { hasIndex: true }) },
  { name: 'plan-100000', what: 'plan', at: '100,000 entries', target: { atMost: 60, unit: 'ms' }, measure: async () => (await import('./plan.ts')).plan(100_000) },
  { name: 'plan-1000000', what: 'plan', at: '1,000,000 entries', target: { atMost: 1_000, unit: 'ms' }, measure: async () => (await import('./plan.ts')).plan(1_000_000) },
  { name: 'plan-agent', what: 'longest step of a plan by the agent', at: '100,000 entries', target: { atMost: 30, unit: 'ms' }, measure: async () => (await import('./plan.ts')).planStep(100_000), asAgent: true },
  { name: 'purge-tmpfs', what: 'purge', at: '1,000 trees of 100 files', target: { timesBaseline: 1.1 }, measure: async () => (await import('./purge.ts')).purge('tmpfs') },
  { name: 'purge-ext4', what: 'purge', at: '1,000 trees of 100 files', target: { timesBaseline: 1.1 }, measure: async () => (await import('./purge.ts')).purge('ext4') },
  { name: 'purge-agent', what: 'purge by the agent', at: '1,000 trees of 100 files', target: { timesBaseline: 1.1 }, measure: async () => (await import('./purge.ts')).purge('tmpfs'), asAgent: true },
  { name: 'freshness', what: 'an entry → figures know', at: '1,000 entries', target: { atMost: 2, unit: 's' }, measure: async () => (await import('./freshness.ts')).freshness(1_000) },
  { name: 'freshness-100000', what: 'an entry → figures know', at: '100,000 entries', target: { atMost: 2, unit: 's' }, measure: async () => (await import('./freshness.ts')).freshness(100_000) },
  { name: 'busy-agent', what: 'agent at work', at: '100,000 entries', target: { atMost: 30, unit: 'ms' }, measure: async () => (await import('./busy-agent.ts')).busyAgent(100_000) },
  { name: 'idle', what: 'idle CPU', at: '10,000 entries', target: { atMost: 0.3, unit: '% of a core' }, measure: async () => (await import('./idle.ts')).idle(10_000) },
  { name: 'agent-memory-1000', what: 'agent RSS', at: '1,000 entries', target: { atMost: 68, unit: 'MiB' }, measure: async () => (await import('./agent-memory.ts')).agentMemory(1_000) },
  { name: 'agent-memory-100000', what: 'agent RSS', at: '100,000 entries', target: { atMost: 96, unit: 'MiB' }, measure: async () => (await import('./agent-memory.ts')).agentMemory(100_000) },
  { name: 'agent-memory-schedule', what: 'agent RSS with a schedule', at: '1,000 entries', target: { atMost: 74, unit: 'MiB' }, measure: async () => (await import('./agent-memory.ts')).agentMemory(1_000, { scheduled: true }) },
  { name: 'cluster-agent-memory', what: 'agent RSS in a cluster, an eviction every 5 s', at: '8 entries', target: { atMost: 68, unit: 'MiB' }, measure: async () => (await import('./memory.ts')).agentMemory() },
  { name: 'cluster-controller-memory', what: 'controller RSS', at: '1 policy, 1 node', target: { atMost: 120, unit: 'MiB' }, measure: async () => (await import('./memory.ts')).controllerMemory() },
];
