import { describe, expect, it } from 'vitest';

import type { Fence } from '../../src/kube/client.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { lead } from '../../src/kube/election.ts';
import type { Leadership } from '../../src/kube/election.ts';
import type { Lease } from '../../src/kube/lease.ts';
import { Transport } from '../../src/kube/transport.ts';
import { silentLog } from '../../src/observe/log.ts';
import type { Log } from '../../src/observe/log.ts';
import { recordedLog, startServer } from './rig.ts';
import type { ServerRig } from './rig.ts';
import { breakOff, status } from './scripted-server.ts';

const collection = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
const path = `${collection}/controller`;

/** A process that wants to lead, with connections of its own. */
function startCandidate({ server, clock }: ServerRig, identity: string, work?: (leadership: Leadership) => Promise<void>, log: Log = silentLog) {
  const transport = new Transport(server.connection(), { clock, userAgent: identity });
  const client = new KubeClient(transport);
  const abort = new AbortController();
  const candidate = {
    leads: false,
    startedAtMs: 0,
    endedAtMs: 0,
    fence: undefined as Fence | undefined,
    /** As SIGTERM. */
    stop: () => abort.abort(new Error('stopped')),
    /** Nothing it sends arrives any more. */
    cutOff() {
      server.unheard.add(identity);
      transport.close();
    },
    ended: undefined as unknown as Promise<void>,
    error: undefined as unknown,
  };
  const untilStopped = ({ signal }: Leadership) => new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  candidate.ended = lead(
    { client, clock, identity, namespace: 'default', name: 'controller', log },
    async (leadership) => {
      Object.assign(candidate, { leads: true, startedAtMs: clock.monotonicMs(), fence: leadership.fence });
      try {
        await (work ?? untilStopped)(leadership);
      } finally {
        Object.assign(candidate, { leads: false, endedAtMs: clock.monotonicMs() });
      }
    },
    abort.signal,
  )
    .catch((error: unknown) => void (candidate.error = error))
    .finally(() => transport.close());
  return candidate;
}

function leaseOf({ server }: ServerRig): Lease {
  return server.get(path) as Lease;
}

function putLease({ server }: ServerRig, spec: NonNullable<Lease['spec']>) {
  server.put(collection, { ...leaseOf({ server } as ServerRig), apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'controller', namespace: 'default' }, spec } as Lease);
}

describe.concurrent('a candidate', () => {
  it('takes a lease that nobody has, and writes what kubectl shows', async () => {
    await using rig = await startServer();
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => one.leads);
    expect(leaseOf(rig).spec).toEqual({
      holderIdentity: 'one',
      leaseDurationSeconds: 15,
      acquireTime: expect.stringMatching(/^2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
      renewTime: expect.stringMatching(/\.\d{6}Z$/),
      leaseTransitions: 0,
    });
    one.stop();
    await one.ended;
    expect(one.error).toBeUndefined();
  });

  it('is alone where several start at once', async () => {
    await using rig = await startServer();
    const all = ['one', 'two', 'three'].map((identity) => startCandidate(rig, identity));
    await rig.clock.pass(30_000);
    expect(all.filter(({ leads }) => leads)).toHaveLength(1);
    for (const candidate of all) candidate.stop();
    await rig.clock.passUntil(() => all.every(({ leads }) => !leads));
    await Promise.all(all.map(({ ended }) => ended));
  });

  it('leads within 20 s of the last renewal of a leader that was killed', async () => {
    await using rig = await startServer();
    const dead = startCandidate(rig, 'dead');
    await rig.clock.passUntil(() => dead.leads);
    const two = startCandidate(rig, 'two');
    await rig.clock.pass(60_000);
    expect(two.leads).toBe(false);
    const killedAtMs = rig.clock.monotonicMs();
    dead.cutOff();
    await rig.clock.passUntil(() => two.leads);
    expect(two.startedAtMs - killedAtMs).toBeLessThan(20_000);
    // The other one has noticed before, on its own.
    expect(dead.leads).toBe(false);
    expect(two.startedAtMs - dead.endedAtMs).toBeGreaterThan(3_000);
    expect(dead.error).toMatchObject({ code: 'ERR_LEASE_LOST' });
    expect(leaseOf(rig).spec?.leaseTransitions).toBe(1);
    two.stop();
    await two.ended;
  });

  it('leads at once when a leader was asked to stop', async () => {
    await using rig = await startServer();
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => one.leads);
    const two = startCandidate(rig, 'two');
    await rig.clock.pass(7_000);
    const stoppedAtMs = rig.clock.monotonicMs();
    one.stop();
    await rig.clock.passUntil(() => two.leads);
    expect(two.startedAtMs - stoppedAtMs).toBeLessThan(1_000);
    expect(one.error).toBeUndefined();
    two.stop();
    await two.ended;
  });

  it('judges by changes that it saw, not by the clocks of others', async () => {
    await using rig = await startServer();
    putLease(rig, { holderIdentity: 'other', leaseDurationSeconds: 15, renewTime: '2001-01-01T00:00:00.000000Z', leaseTransitions: 4 });
    const one = startCandidate(rig, 'one');
    for (let renewal = 0; renewal < 10; renewal++) {
      await rig.clock.pass(10_000);
      putLease(rig, { holderIdentity: 'other', leaseDurationSeconds: 15, renewTime: `2001-01-01T00:00:0${renewal}.500000Z`, leaseTransitions: 4 });
    }
    expect(one.leads).toBe(false);
    putLease(rig, { holderIdentity: 'other', leaseDurationSeconds: 15, renewTime: '2999-01-01T00:00:00.000000Z', leaseTransitions: 4 });
    expect(await rig.clock.passUntil(() => one.leads)).toBeLessThan(17_000);
    expect(leaseOf(rig).spec?.leaseTransitions).toBe(5);
    one.stop();
    await one.ended;
  });

  it.each([
    ['free', '', 5_000],
    ['held by a process that is no more', 'gone', 40_000],
  ])('takes a lease that a restored storage shows as %s, in an older version', async (_, holderIdentity, withinMs) => {
    await using rig = await startServer();
    putLease(rig, { holderIdentity, leaseDurationSeconds: 15, renewTime: '2025-01-01T00:00:00.000000Z' });
    const earlier = rig.server.snapshot();
    putLease(rig, { holderIdentity: 'leader', leaseDurationSeconds: 15 });
    const one = startCandidate(rig, 'one');
    // The leader renews, until the restore ends it.
    for (let renewal = 0; renewal < 5; renewal++) {
      await rig.clock.pass(2_000);
      putLease(rig, { holderIdentity: 'leader', leaseDurationSeconds: 15, leaseTransitions: renewal });
    }
    rig.server.restore(earlier);
    rig.server.breakConnections();
    expect(await rig.clock.passUntil(() => one.leads, 1_800_000)).toBeLessThan(withinMs);
    one.stop();
    await one.ended;
    expect(one.error).toBeUndefined();
  });

  it('is not put off by changes that are no renewals', async () => {
    await using rig = await startServer();
    putLease(rig, { holderIdentity: 'dead', leaseDurationSeconds: 15 });
    const one = startCandidate(rig, 'one');
    for (let edit = 0; edit < 4; edit++) {
      await rig.clock.pass(4_000);
      const lease = leaseOf(rig);
      if (!one.leads) rig.server.put(collection, { ...lease, metadata: { ...lease.metadata, annotations: { edit: String(edit) } } });
    }
    expect(await rig.clock.passUntil(() => one.leads)).toBeLessThan(5_000);
    one.stop();
    await one.ended;
  });

  it('does not take a lease that was renewed while it could not see that', async () => {
    await using rig = await startServer();
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => one.leads);
    const two = startCandidate(rig, 'two');
    await rig.clock.passUntil(() => rig.server.openWatches >= 1);
    rig.server.fallSilent();
    rig.server.cue('watch', status(500, 'InternalError'), 1_000);
    await rig.clock.pass(90_000);
    expect([one.leads, two.leads]).toEqual([true, false]);
    one.stop();
    await one.ended;
    // Seen late, but seen.
    await rig.clock.passUntil(() => two.leads, 30_000);
    two.stop();
    await two.ended;
  });

  it('that got no answer to the write which made it the leader finds out', async () => {
    await using rig = await startServer();
    rig.server.cue('create', (response, seen, proceed) => {
      breakOff(response, seen, proceed);
      proceed();
    });
    const one = startCandidate(rig, 'one');
    expect(await rig.clock.passUntil(() => one.leads)).toBeLessThan(5_000);
    one.stop();
    await one.ended;
  });

  it('that may not have the lease says so, and says it once', async () => {
    await using rig = await startServer();
    const { log, lines } = recordedLog();
    rig.server.cue('create', status(403, 'Forbidden'), 10);
    const candidate = startCandidate(rig, 'a', undefined, log);
    await rig.clock.passUntil(() => rig.server.count('create') === 10);
    expect(lines.filter(({ level, msg }) => level === 'warn' && msg === 'the lease was not got')).toHaveLength(1);
    await rig.clock.passUntil(() => candidate.leads);
    candidate.stop();
    await candidate.ended;
  });

  it('that is stopped ends without having touched the lease', async () => {
    await using rig = await startServer();
    putLease(rig, { holderIdentity: 'other', leaseDurationSeconds: 15 });
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => rig.server.openWatches === 1);
    one.stop();
    await one.ended;
    expect([one.startedAtMs, one.error, leaseOf(rig).spec?.holderIdentity]).toEqual([0, undefined, 'other']);
    expect(rig.clock.pendingTimers).toBeLessThanOrEqual(2);
    await rig.clock.passUntil(() => rig.server.openWatches === 0 && rig.clock.pendingTimers === 0);
  });
});

describe.concurrent('a leader', () => {
  it('renews every 2 s, and still does while its work ends; then the lease is free', async () => {
    await using rig = await startServer();
    let finish = () => {};
    const one = startCandidate(rig, 'one', () => new Promise((resolve) => (finish = resolve)));
    await rig.clock.passUntil(() => one.leads);
    await rig.clock.pass(20_100);
    const renewals = rig.server.count('replace');
    expect(renewals).toBeGreaterThanOrEqual(9);
    expect(renewals).toBeLessThanOrEqual(10);
    one.stop();
    await rig.clock.pass(20_000);
    expect(rig.server.count('replace')).toBeGreaterThanOrEqual(renewals + 9);
    expect(leaseOf(rig).spec?.holderIdentity).toBe('one');
    finish();
    await one.ended;
    expect(leaseOf(rig).spec).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1 });
    expect(rig.clock.pendingTimers).toBe(0);
  });

  it('survives 7 s without the API server', async () => {
    await using rig = await startServer();
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => one.leads);
    rig.server.cue('replace', breakOff, 1_000);
    await rig.clock.pass(7_000);
    rig.server.behave();
    await rig.clock.pass(30_000);
    expect(one.leads).toBe(true);
    one.fence?.check();
    one.stop();
    await one.ended;
  });

  it('is none after 10 s without the API server', async () => {
    await using rig = await startServer();
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => one.leads);
    rig.server.cue('replace', () => undefined, 1_000);
    expect(await rig.clock.passUntil(() => !one.leads)).toBeLessThanOrEqual(10_100);
    await one.ended;
    expect(one.error).toMatchObject({ code: 'ERR_LEASE_LOST', message: 'lease default/controller could not be renewed in time' });
  });

  it('is none when another holds the lease, and does not free it', async () => {
    await using rig = await startServer();
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => one.leads);
    putLease(rig, { holderIdentity: 'thief', leaseDurationSeconds: 15 });
    expect(await rig.clock.passUntil(() => !one.leads)).toBeLessThan(3_000);
    await one.ended;
    expect(one.error).toMatchObject({ code: 'ERR_LEASE_LOST', message: 'lease default/controller is held by thief' });
    expect(() => one.fence?.check()).toThrow('is held by thief');
    expect(leaseOf(rig).spec?.holderIdentity).toBe('thief');
  });

  it('may not write after its process stood still, before it has noticed anything', async () => {
    await using rig = await startServer();
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => one.leads);
    one.fence?.check();
    rig.clock.jump(20_000);
    expect(() => one.fence?.check()).toThrow('could not be renewed in time');
    await rig.clock.passUntil(() => !one.leads);
    await one.ended;
    expect(one.error).toMatchObject({ code: 'ERR_LEASE_LOST' });
  });

  it('stays the leader when somebody edits or deletes the lease', async () => {
    await using rig = await startServer();
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => one.leads);
    const lease = leaseOf(rig);
    rig.server.put(collection, { ...lease, metadata: { ...lease.metadata, annotations: { edited: 'by hand' } } });
    await rig.clock.pass(20_000);
    expect(leaseOf(rig).metadata.annotations).toEqual({ edited: 'by hand' });
    rig.server.remove(collection, 'controller');
    await rig.clock.pass(20_000);
    expect([one.leads, leaseOf(rig).spec?.holderIdentity]).toEqual([true, 'one']);
    one.stop();
    await one.ended;
  });

  it.each([
    ['as its own', 'one', true],
    ['as free', '', false],
    ['as that of a former leader', 'former', false],
    ['not at all', undefined, true],
  ])('finds the lease in a restored storage %s: it goes on only where nobody else can lead', async (_, holderIdentity, goesOn) => {
    await using rig = await startServer();
    if (holderIdentity !== undefined) putLease(rig, { holderIdentity, leaseDurationSeconds: 15 });
    const earlier = rig.server.snapshot();
    if (holderIdentity !== undefined) rig.server.remove(collection, 'controller');
    const one = startCandidate(rig, 'one');
    await rig.clock.passUntil(() => one.leads);
    await rig.clock.pass(20_000);
    rig.server.restore(earlier);
    rig.server.breakConnections();
    await rig.clock.pass(20_000);
    expect(one.leads).toBe(goesOn);
    if (goesOn) expect(leaseOf(rig).spec?.holderIdentity).toBe('one');
    one.stop();
    await one.ended;
  });

  it('whose work fails gives the lease back, and the error on', async () => {
    await using rig = await startServer();
    const one = startCandidate(rig, 'one', () => Promise.reject(new Error('no work today')));
    await rig.clock.passUntil(() => one.error !== undefined);
    await one.ended;
    expect(one.error).toMatchObject({ message: 'no work today' });
    expect(leaseOf(rig).spec?.holderIdentity).toBe('');
  });
});
