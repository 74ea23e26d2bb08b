import { describe, expect, it } from 'vitest';

import { EventRecorder } from '../../src/kube/event-recorder.ts';
import type { Happening } from '../../src/kube/event-recorder.ts';
import { recordedLog, startServer } from './rig.ts';
import { status } from './scripted-server.ts';

const regarding = { apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', metadata: { name: 'a3s-box', uid: 'uid-1', resourceVersion: '7' } };

function evicted(message: string, reason = 'Evicted'): Happening {
  return { regarding, type: 'Normal', reason, message };
}

async function start() {
  const rig = await startServer();
  const { log, lines } = recordedLog();
  const abort = new AbortController();
  const { client, clock, server } = rig;
  const recorder = new EventRecorder({ client, clock, log, component: 'cachepolicy-controller', instance: 'pod-1', signal: abort.signal });
  return {
    ...rig,
    lines,
    recorder,
    abort,
    bodies: () => server.seen.map(({ verb, body }) => [verb, body['count'], body['message']]),
    async [Symbol.asyncDispose]() {
      abort.abort();
      await rig[Symbol.asyncDispose]();
    },
  };
}

describe.concurrent('an event recorder', () => {
  it('writes an Event about a cluster-scoped object where kubectl looks for it', async () => {
    await using rig = await start();
    rig.recorder.record(evicted('4 entries, 3Gi'));
    await rig.clock.passUntil(() => rig.server.count('create') === 1);
    const [seen] = rig.server.seen;
    expect(seen?.path).toBe('/api/v1/namespaces/default/events');
    expect(seen?.body).toMatchObject({
      kind: 'Event',
      metadata: { name: expect.stringMatching(/^a3s-box\.[0-9a-f]{16}$/), namespace: 'default' },
      involvedObject: { kind: 'CachePolicy', name: 'a3s-box', uid: 'uid-1' },
      type: 'Normal',
      reason: 'Evicted',
      message: '4 entries, 3Gi',
      count: 1,
      reportingComponent: 'cachepolicy-controller',
      firstTimestamp: '2026-01-01T00:00:00Z',
      lastTimestamp: '2026-01-01T00:00:00Z',
    });
  });

  it('counts what repeats, shows the latest message, and writes it at most every 30 s', async () => {
    await using rig = await start();
    for (let i = 1; i <= 100; i++) {
      rig.recorder.record(evicted(`${i} entries`));
      await rig.clock.pass(1_000);
    }
    await rig.clock.passUntil(() => rig.server.seen.at(-1)?.body['count'] === 100);
    expect(rig.bodies().map(([verb]) => verb)).toEqual(['create', 'patch', 'patch', 'patch', 'patch']);
    expect(rig.bodies().at(-1)).toEqual(['patch', 100, '100 entries']);
  });

  it('keeps apart what differs in reason, and begins anew after ten quiet minutes', async () => {
    await using rig = await start();
    rig.recorder.record(evicted('one'));
    rig.recorder.record(evicted('two', 'LimitUnreachable'));
    await rig.clock.pass(11 * 60_000);
    rig.recorder.record(evicted('three'));
    await rig.clock.passUntil(() => rig.server.count('create') === 3);
    expect(rig.bodies()).toEqual([['create', 1, 'one'], ['create', 1, 'two'], ['create', 1, 'three']]);
    expect(new Set(rig.server.seen.map(({ body }) => (body['metadata'] as { name: string }).name)).size).toBe(3);
  });

  it('makes an Event again that the API server has dropped', async () => {
    await using rig = await start();
    rig.recorder.record(evicted('one'));
    await rig.clock.passUntil(() => rig.server.count('create') === 1);
    const written = rig.server.seen[0]?.body['metadata'] as { name: string } | undefined;
    rig.server.remove('/api/v1/namespaces/default/events', written?.name ?? '');
    rig.recorder.record(evicted('two'));
    await rig.clock.passUntil(() => rig.server.count('create') === 2);
    expect(rig.bodies().at(-1)).toEqual(['create', 2, 'two']);
  });

  it('never throws: it logs what is refused, and tries again for ten minutes', async () => {
    await using rig = await start();
    rig.server.cue('create', status(403, 'Forbidden'), 1_000);
    rig.recorder.record(evicted('one'));
    await rig.clock.pass(30 * 60_000);
    expect(rig.server.count('create')).toBeGreaterThan(15);
    expect(rig.server.count('create')).toBeLessThan(25);
    expect(rig.lines[0]).toMatchObject({ level: 'warn', msg: 'an Event was not written', err: { code: 'ERR_KUBE_STATUS' } });
    expect(rig.clock.pendingTimers).toBe(0);
  });

  it('bounds what it keeps', async () => {
    await using rig = await start();
    for (let i = 0; i < 300; i++) rig.recorder.record(evicted('x', `Reason${i}`));
    await rig.clock.passUntil(() => rig.server.count('create') === 256);
    await rig.clock.pass(60_000);
    expect(rig.server.count('create')).toBe(256);
    expect(rig.lines.filter(({ msg }) => msg.startsWith('too many'))).toHaveLength(44);
  });

  it('leaves no timer behind when it is ended', async () => {
    await using rig = await start();
    rig.recorder.record(evicted('one'));
    await rig.clock.passUntil(() => rig.server.count('create') === 1 && rig.clock.pendingTimers === 1);
    rig.recorder.record(evicted('two'));
    rig.abort.abort();
    expect(rig.clock.pendingTimers).toBe(0);
    rig.recorder.record(evicted('three'));
    await rig.clock.pass(60_000);
    expect([rig.server.seen.length, rig.clock.pendingTimers]).toEqual([1, 0]);
  });
});
