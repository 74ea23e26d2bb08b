import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';

import { runControlLoop } from '../../src/kube/control-loop.ts';
import type { Reconcile } from '../../src/kube/control-loop.ts';
import { WorkQueue } from '../../src/kube/queue.ts';
import { KubeStatusError } from '../../src/kube/status-error.ts';
import { recordedLog } from './rig.ts';
import { SteppedClock } from './stepped-clock.ts';

describe('a work queue', () => {
  it('holds a key once, however often it is added', async () => {
    const queue = new WorkQueue();
    for (const key of ['a', 'b', 'a', 'a']) queue.add(key);
    expect(queue.size).toBe(2);
    expect([await queue.take(), await queue.take(), queue.size]).toEqual(['a', 'b', 0]);
  });

  it('does not hand out a key in work, and hands it out once more afterwards if it was added meanwhile', async () => {
    const queue = new WorkQueue();
    queue.add('a');
    await queue.take();
    queue.add('a');
    queue.add('a');
    queue.add('b');
    expect(await queue.take()).toBe('b');
    expect(queue.size).toBe(0);
    queue.done('a');
    expect(queue.size).toBe(1);
    expect(await queue.take()).toBe('a');
    queue.done('a');
    expect(queue.size).toBe(0);
  });

  it('serves who waits first', async () => {
    const queue = new WorkQueue();
    const [first, second] = [queue.take(), queue.take()];
    queue.add('a');
    queue.add('b');
    expect([await first, await second]).toEqual(['a', 'b']);
    queue.add('a');
    expect(queue.size).toBe(0);
    queue.done('a');
    expect(queue.size).toBe(1);
  });

  it('hands out urgent keys first, and every fourth time another, so that neither waits for the end of the other', async () => {
    const queue = new WorkQueue({ isUrgent: (key) => key.startsWith('u') });
    for (const key of ['a', 'b', 'c', 'u1', 'u2', 'u3', 'u4', 'u5']) queue.add(key);
    expect(queue.size).toBe(8);
    const taken: (string | undefined)[] = [];
    while (queue.size > 0) taken.push(await queue.take());
    expect(taken).toEqual(['u1', 'u2', 'u3', 'a', 'u4', 'u5', 'b', 'c']);
    for (const key of ['d', 'u6']) queue.add(key);
    queue.shutDown();
    expect([queue.size, await queue.take()]).toEqual([0, undefined]);
  });

  it('keeps a worker for urgent keys while the others are slow', async () => {
    const queue = new WorkQueue({ isUrgent: (key) => key.startsWith('u'), mostOthersAtOnce: 1 });
    const taken: (string | undefined)[] = [];
    const take = () => void queue.take().then((key) => taken.push(key));
    for (const key of ['a', 'b']) queue.add(key);
    take();
    take();
    await nextTurn();
    expect([taken.splice(0), queue.size]).toEqual([['a'], 1]);
    queue.add('u');
    await nextTurn();
    expect(taken.splice(0)).toEqual(['u']);
    take();
    queue.add('a');
    queue.done('a');
    await nextTurn();
    expect(taken.splice(0)).toEqual(['b']);
    take();
    queue.done('b');
    await nextTurn();
    expect([taken, queue.size]).toEqual([['a'], 0]);
  });

  it('adds a key when its time has come, of several times at the earliest', () => {
    const clock = new SteppedClock();
    const queue = new WorkQueue({ clock });
    queue.addAfter('a', 5_000);
    queue.addAfter('a', 1_000);
    queue.addAfter('a', 9_000);
    clock.jump(999);
    expect(queue.size).toBe(0);
    clock.jump(1);
    expect(queue.size).toBe(1);
    expect(clock.pendingTimers).toBe(0);
  });

  it('waits longer after each failure of a key, up to its bound, until that succeeds', async () => {
    const clock = new SteppedClock();
    clock.chance = 0;
    const queue = new WorkQueue({ clock, minBackoffMs: 100, maxBackoffMs: 1_000 });
    const waits: number[] = [];
    const fail = async (key: string, minMs?: number) => {
      const startMs = clock.monotonicMs();
      queue.addAfterFailure(key, minMs);
      while (queue.size === 0) clock.jump(1);
      waits.push(clock.monotonicMs() - startMs);
      queue.done((await queue.take()) ?? '');
    };
    for (let i = 0; i < 5; i++) await fail('a');
    await fail('b');
    queue.forget('a');
    await fail('a');
    await fail('a', 7_000);
    expect(waits).toEqual([100, 200, 400, 500, 500, 100, 100, 7_200]);
  });

  it('forgets what waits when it is shut down, and says so to who waits', async () => {
    const clock = new SteppedClock();
    const queue = new WorkQueue({ clock });
    const waiting = queue.take();
    queue.addAfter('later', 1_000);
    queue.shutDown();
    queue.add('a');
    queue.addAfter('b', 1);
    expect([await waiting, await queue.take(), queue.size, clock.pendingTimers]).toEqual([undefined, undefined, 0, 0]);
  });
});

describe('a control loop', () => {
  function start(reconcile: Reconcile, workers = 1) {
    const clock = new SteppedClock();
    const queue = new WorkQueue({ clock });
    const { log, lines } = recordedLog();
    const abort = new AbortController();
    const ended = runControlLoop({ queue, reconcile, log, workers }, abort.signal);
    return { clock, queue, lines, ended, stop: () => (abort.abort(), ended) };
  }

  it('tries again what fails, with waits that grow until it succeeds, and says so', async () => {
    const times: number[] = [];
    const { clock, queue, lines, stop } = start(async () => {
      times.push(clock.monotonicMs());
      if (![4, 6].includes(times.length)) throw new Error('not yet');
    });
    queue.add('a');
    await clock.passUntil(() => times.length === 4);
    await clock.pass(60_000);
    queue.add('a');
    await clock.passUntil(() => times.length === 6);
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(gaps).toEqual([300, 600, 1_200, 60_000, 300]);
    expect(lines.map(({ level, key, err }) => [level, key, (err as Error).message])).toEqual(Array(4).fill(['warn', 'a', 'not yet']));
    await stop();
  });

  it('waits as long as the server asks for', async () => {
    const times: number[] = [];
    const { clock, queue, stop } = start(async () => {
      times.push(clock.monotonicMs());
      if (times.length === 1) throw new KubeStatusError('PATCH /x', 429, {}, 40_000);
    });
    queue.add('a');
    await clock.passUntil(() => times.length === 2);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(40_000);
    await stop();
  });

  it('looks again when the reconcile says when', async () => {
    const times: number[] = [];
    const { clock, queue, stop } = start(async () => {
      times.push(clock.monotonicMs());
      return { requeueAfterMs: 5_000 };
    });
    queue.add('a');
    await clock.passUntil(() => times.length === 3);
    expect(times.map((time) => time - (times[0] ?? 0))).toEqual([0, 5_000, 10_000]);
    await stop();
  });

  it('works on several keys at once, and never on one twice', async () => {
    const inWork = new Set<string>();
    const gates = new Map<string, () => void>();
    let most = 0;
    const { clock, queue, stop } = start(async (key) => {
      expect(inWork.has(key)).toBe(false);
      inWork.add(key);
      most = Math.max(most, inWork.size);
      await new Promise<void>((resolve) => gates.set(key, resolve));
      inWork.delete(key);
    }, 3);
    for (const key of ['a', 'b', 'c', 'd', 'a', 'b']) queue.add(key);
    await clock.passUntil(() => inWork.size === 3);
    queue.add('a');
    gates.get('a')?.();
    await clock.passUntil(() => inWork.has('d'));
    for (let i = 0; i < 5; i++) {
      for (const open of gates.values()) open();
      await clock.pass(0);
    }
    expect(most).toBe(3);
    expect(inWork.size).toBe(0);
    await stop();
  });

  it('ends what is begun when it is stopped, and begins nothing more', async () => {
    const worked: string[] = [];
    let finish = () => {};
    const { clock, queue, stop, ended } = start(async (key) => {
      await new Promise<void>((resolve) => (finish = resolve));
      worked.push(key);
    });
    queue.add('a');
    queue.add('b');
    await clock.pass(0);
    void stop();
    let over = false;
    void ended.then(() => (over = true));
    await clock.pass(0);
    expect([worked, over]).toEqual([[], false]);
    finish();
    await ended;
    expect(worked).toEqual(['a']);
    expect(clock.pendingTimers).toBe(0);
  });
});
