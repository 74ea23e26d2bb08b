import { describe, expect, it } from 'vitest';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { admit } from '../../src/controller/admission.ts';
import { Standings } from '../../src/controller/standings.ts';
import { Store } from '../../src/kube/store.ts';
import { silentLog } from '../../src/observe/log.ts';
import { parseCompiled } from '../../src/policy/compiled.ts';
import { hostilePaths, oddPaths } from '../fixtures/hostile-paths.ts';
import { aCacheSpec, allowedRoots, aPolicy } from './builders.ts';

const home = (path: string, store: 'Rootfs' | 'Layers' = 'Rootfs') => aCacheSpec({ a3sBox: { home: path, store } });
const older = (spec: Partial<PolicyObject['spec']> = {}, metadata: Partial<PolicyObject['metadata']> = {}) =>
  aPolicy(spec, { name: 'older', uid: 'older-uid', creationTimestamp: '2025-01-01T00:00:00Z', ...metadata });

interface Among {
  readonly others?: readonly PolicyObject[];
  readonly roots?: readonly string[];
  readonly runningAgents?: number;
}

/** As the controller decides it among the policies of a cluster. */
async function admitted(policy: PolicyObject, { others = [], roots = allowedRoots, runningAgents = 0 }: Among = {}) {
  const policies = new Store<PolicyObject>({ log: silentLog });
  for (const object of [...others, policy]) policies.apply({ type: 'ADDED', object });
  const standings = new Standings({ policies, allowedRoots: () => roots, runningAgents: () => runningAgents, onDecided: () => undefined });
  await standings.settled();
  const { assessment, winner } = standings.of(policy)!;
  const { accepted, ...rest } = admit(policy, assessment, winner, Date.parse('2026-06-01T12:00:00Z'));
  return { ...rest, accepted: `${accepted.status} ${accepted.reason}: ${accepted.message}` };
}

describe('a policy that is right by itself', () => {
  it('is in force', async () => {
    const admission = await admitted(aPolicy());
    expect(admission.accepted).toBe('True Accepted: in force');
    expect(admission.compiled).toMatchObject({ accepted: true, mode: 'Enforce', policy: { name: 'a3s-box', uid: 'policy-uid', generation: 1 } });
  });

  it('names the allowed roots its caches lie below, each once, sorted, and no other', async () => {
    const caches = [home('/var/lib/a3s-box/b'), home('/var/cache/a'), home('/var/lib/a3s-box/c')];
    expect((await admitted(aPolicy({ caches }), { roots: ['/var/lib/a3s-box', '/srv', '/var/cache'] })).rootsInUse).toEqual(['/var/cache', '/var/lib/a3s-box']);
  });

  it('is told where its limits change nothing', async () => {
    const { accepted } = await admitted(aPolicy({ caches: [aCacheSpec({ limits: { maxEntries: 10 } })] }));
    expect(accepted).toMatch(/^True Accepted: in force; rootfs: the runtime itself keeps at most 10 entries/);
  });

  it('is told which of its pins have expired, without what they name', async () => {
    const keep = [{ key: 'secret', until: '2026-06-01T11:59:59Z' }, { description: 'secret', until: '2026-06-01T12:00:01Z' }];
    const { accepted } = await admitted(aPolicy({ caches: [aCacheSpec({ protect: { minIdle: '60s', keep } })] }));
    expect(accepted).toBe('True Accepted: in force; rootfs: protect.keep[0] expired at 2026-06-01T11:59:59Z and holds nothing any more');
  });

  it('keeps its schedule', async () => {
    const { compiled } = await admitted(aPolicy({ schedule: { cron: '*/15 * * * *', timeZone: 'Europe/Berlin', jitter: '60s' } }));
    expect(compiled.schedule).toEqual({ cron: '*/15 * * * *', timeZone: 'Europe/Berlin', jitterMs: 60_000 });
  });
});

describe('a policy that cannot be in force', () => {
  it('names the path that is not allowed, and mounts nothing for it', async () => {
    const admission = await admitted(aPolicy({ caches: [home('/var/cache/a'), home('/etc/a3s')] }));
    expect(admission.accepted).toBe('False PathNotAllowed: spec.caches[1].a3sBox.home: /etc/a3s is not strictly below an allowed root; allowed are /var/lib/a3s-box, /var/cache');
    expect(admission).toMatchObject({ rootsInUse: ['/var/cache'], compiled: { accepted: false } });
  });

  it.each([...hostilePaths('/var/cache'), ...oddPaths('/var/cache')])('does not get beyond /var/cache by %s', async (_, path) => {
    const admission = await admitted(aPolicy({ caches: [home(path)] }));
    expect(admission.accepted).toMatch(/^False PathNotAllowed/);
    expect(admission.rootsInUse).toEqual([]);
  });

  it.each([...hostilePaths('/var/cache'), ...oddPaths('/var/cache')])('keeps its cache nowhere beyond /var/cache by %s', async (_, cacheDir) => {
    const admission = await admitted(aPolicy({ caches: [aCacheSpec({ a3sBox: { home: '/var/lib/a3s-box/home', cacheDir, store: 'Rootfs' } })] }));
    expect(admission.accepted).toMatch(/^False PathNotAllowed: spec.caches\[0\].a3sBox.cacheDir: /);
    expect(admission.rootsInUse).toEqual(['/var/lib/a3s-box']);
  });

  it('has agents mount the allowed roots of its home and of its cacheDir', async () => {
    const { rootsInUse, compiled } = await admitted(aPolicy({ caches: [aCacheSpec({ a3sBox: { home: '/var/lib/a3s-box/home', cacheDir: '/var/cache/a3s', store: 'Layers' } })] }));
    expect(rootsInUse).toEqual(['/var/cache', '/var/lib/a3s-box']);
    expect(compiled.caches[0]).toMatchObject({ root: '/var/cache/a3s/layers', home: '/var/lib/a3s-box/home' });
  });

  it('is refused whole where no root is allowed at all', async () => {
    expect((await admitted(aPolicy(), { roots: [] })).accepted).toMatch(/^False PathNotAllowed: .*allowed are none$/);
  });

  it('never sends a schedule that was refused to an agent', async () => {
    const admission = await admitted(aPolicy({ schedule: { cron: '61 * * * *', timeZone: 'UTC', jitter: '0s' } }));
    expect(admission.accepted).toMatch(/^False InvalidSchedule: spec.schedule.cron: "61 \* \* \* \*"/);
    expect(admission.compiled).toMatchObject({ accepted: false, schedule: null });
  });

  it('that cannot be read although the API server took it says so, and its agents evict nothing', async () => {
    const caches = [aCacheSpec({ protect: { minIdle: '60s', keep: [{ key: 'a', until: '2027-01-01T00:00:00+24:00' }] } })];
    const { accepted, compiled, rootsInUse } = await admitted(aPolicy({ caches }));
    expect(accepted).toBe('False InvalidCaches: spec.caches[0].protect.keep[0].until: cannot read "2027-01-01T00:00:00+24:00"');
    expect(parseCompiled(JSON.stringify(compiled))).toMatchObject({ policy: { uid: 'policy-uid', generation: 1 }, accepted: false, caches: [] });
    expect(rootsInUse).toEqual(['/var/lib/a3s-box']);
  });

  it('names every fault at once, under the reason of the first', async () => {
    const { accepted } = await admitted(aPolicy({ schedule: { cron: '* * * *', timeZone: 'UTC', jitter: '0s' }, caches: [home('/etc/x')] }));
    expect(accepted).toMatch(/^False InvalidSchedule: spec.schedule.cron: .*; spec.caches\[0\].a3sBox.home: /);
  });

  it('may not name one directory twice', async () => {
    const caches = [aCacheSpec(), aCacheSpec({ name: 'again' })];
    expect((await admitted(aPolicy({ caches }))).accepted).toMatch(/^False InvalidCaches: spec.caches\[1\]/);
  });
});

describe('two policies for one directory', () => {
  it('are decided for the older', async () => {
    const newer = aPolicy();
    const { accepted, compiled } = await admitted(newer, { others: [older()] });
    expect(accepted).toMatch(/^False Conflicted: CachePolicy older is older and governs a directory that this one names/);
    expect(compiled.accepted).toBe(false);
    expect((await admitted(older(), { others: [newer] })).accepted).toBe('True Accepted: in force');
  });

  it('of one age are decided by name', async () => {
    const twin = older({}, { creationTimestamp: '2026-01-01T00:00:00Z' });
    expect((await admitted(twin, { others: [aPolicy()] })).accepted).toMatch(/^False Conflicted: CachePolicy a3s-box/);
    expect((await admitted(aPolicy(), { others: [twin] })).accepted).toMatch(/^True/);
  });

  it('do not meet where they select different nodes', async () => {
    const others = [older({ nodeSelector: { pool: 'a' } })];
    expect((await admitted(aPolicy({ nodeSelector: { pool: 'b' } }), { others })).accepted).toMatch(/^True/);
    expect((await admitted(aPolicy({ nodeSelector: { zone: 'b' } }), { others })).accepted).toMatch(/^False Conflicted/);
  });

  it('do not meet in different stores of one home', async () => {
    expect((await admitted(aPolicy(), { others: [older({ caches: [home('/var/lib/a3s-box/home', 'Layers')] })] })).accepted).toMatch(/^True/);
  });

  it('meet in a home inside a cache of the other', async () => {
    const inside = home('/var/lib/a3s-box/home/cache/rootfs/x');
    expect((await admitted(aPolicy({ caches: [inside] }), { others: [older()] })).accepted).toMatch(/^False Conflicted/);
  });

  it.each([
    ['is itself not allowed', older({ caches: [aCacheSpec(), { ...home('/etc/x'), name: 'etc' }] })],
    ['has an invalid schedule', older({ schedule: { cron: 'never', timeZone: 'UTC', jitter: '0s' } })],
  ])('do not stand in the way of the newer where the older %s', async (_, other) => {
    expect((await admitted(aPolicy(), { others: [other] })).accepted).toMatch(/^True/);
  });
});
