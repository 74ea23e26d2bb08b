import { describe, expect, it } from 'vitest';

import { collection, configMap, startReflector } from './rig.ts';
import { breakOff, busy, endAtOnce, expiredInStream, hang, status, staySilent } from './scripted-server.ts';
import type { ScriptedServer } from './scripted-server.ts';

const two = (server: ScriptedServer) => {
  server.put(collection, configMap('a', { v: '1' }));
  server.put(collection, configMap('b', { v: '1' }));
};

function gaps(times: number[]): number[] {
  return times.slice(1).map((time, index) => time - (times[index] ?? 0));
}

describe.concurrent('a reflector', () => {
  it('lists, then tells what changes', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    expect(rig.told).toEqual(['+default/a', '+default/b']);
    rig.server.put(collection, configMap('a', { v: '2' }));
    rig.server.put(collection, configMap('c'));
    rig.server.remove(collection, 'b');
    await rig.clock.passUntil(() => rig.told.length === 5);
    expect(rig.told.slice(2)).toEqual(['~default/a 1→2', '+default/c', '-default/b']);
    expect(rig.store.get('default/a')).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', data: { v: '2' } });
    expect(rig.store.get('default/b')).toBeUndefined();
  });

  it('watches one object by its name', async () => {
    await using rig = await startReflector({ before: two, fieldSelector: 'metadata.name=b' });
    await rig.watching();
    rig.server.put(collection, configMap('a', { v: '2' }));
    rig.server.put(collection, configMap('b', { v: '2' }));
    await rig.clock.passUntil(() => rig.told.length === 2);
    expect(rig.told).toEqual(['+default/b', '~default/b 1→2']);
  });

  it('lists by pages of 500 and keeps no managed fields', async () => {
    await using rig = await startReflector({ before: (server) => Array.from({ length: 1201 }, (_, i) => server.put(collection, configMap(`c${i}`))) });
    await rig.watching();
    expect(rig.server.seen.filter(({ verb }) => verb === 'list').map(({ query }) => [query.get('limit'), query.get('continue')])).toEqual([['500', null], ['500', '500'], ['500', '1000']]);
    expect(rig.store.size).toBe(1201);
    expect(rig.store.get('default/c1')?.metadata).not.toHaveProperty('managedFields');
  });

  it.each([
    [1, ['500', '500', '500', '500']],
    [2, ['500', '500', '500', '500', null]],
  ])('begins anew when the continue token expires (%i times), then reads everything in one answer; and is rid of what went meanwhile', async (expiries, limits) => {
    const fill = (server: ScriptedServer) => {
      for (let i = 0; i < 620; i++) server.put(collection, configMap(`c${i}`));
      for (let expiry = 0; expiry < expiries; expiry++) {
        server.cue('list', (_response, _seen, proceed) => proceed());
        server.cue('list', (response, seen, proceed) => {
          if (expiry === 0) for (let i = 0; i < 21; i++) server.remove(collection, `c${i}`);
          status(410, 'Expired')(response, seen, proceed);
        });
      }
    };
    await using rig = await startReflector({ before: fill });
    await rig.watching();
    expect(rig.server.seen.filter(({ verb }) => verb === 'list').map(({ query }) => query.get('limit'))).toEqual(limits);
    expect(rig.store.size).toBe(599);
    expect(rig.store.get('default/c0')).toBeUndefined();
  });

  it.each([429, 503] as const)('waits as long as a %i on list, watch and re-watch asks', async (code) => {
    await using rig = await startReflector({
      before: (server) => {
        two(server);
        server.cue('list', busy(code, 7));
        server.cue('watch', busy(code, 20));
      },
    });
    await rig.watching();
    const [firstList = 0, secondList = 0] = rig.server.timesOf('list');
    const [firstWatch = 0, secondWatch = 0] = rig.server.timesOf('watch');
    expect(secondList - firstList).toBeGreaterThanOrEqual(7_800);
    expect(secondWatch - firstWatch).toBeGreaterThanOrEqual(20_800);
    expect(secondWatch - firstWatch).toBeLessThan(25_000);
    expect(rig.server.count('list')).toBe(2);

    rig.server.cue('watch', busy(code, 40));
    rig.server.endWatches();
    await rig.clock.passUntil(() => rig.server.count('watch') === 4);
    const [, , third = 0, fourth = 0] = rig.server.timesOf('watch');
    expect(fourth - third).toBeGreaterThanOrEqual(40_800);
    await rig.watching();
    rig.server.put(collection, configMap('a', { v: '2' }));
    await rig.clock.passUntil(() => rig.told.includes('~default/a 1→2'));
  });

  it.each([3_600, 3_000_000, 1e300])('looks again after five minutes where it is asked to stay away for %d s', async (seconds) => {
    await using rig = await startReflector({ before: (server) => server.cue('list', busy(503, seconds)) });
    await rig.watching();
    const [wait = 0] = gaps(rig.server.timesOf('list'));
    expect(wait).toBeGreaterThanOrEqual(300_000);
    expect(wait).toBeLessThan(310_000);
  });

  it.each([
    ['as a status', status(410, 'Expired')],
    ['inside the stream', expiredInStream],
  ])('lists again after a 410 %s, and finds what was deleted meanwhile', async (_where, act) => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    rig.server.cue('watch', act);
    rig.server.quietly(() => rig.server.remove(collection, 'a'));
    rig.server.quietly(() => rig.server.put(collection, configMap('b', { v: '2' })));
    rig.server.endWatches();
    await rig.clock.passUntil(() => rig.server.count('list') === 2);
    await rig.watching();
    expect(rig.told.slice(2)).toEqual(['~default/b 1→2', '-default/a']);
  });

  it('never gives up, and waits between 0.8 and 30 s', async () => {
    await using rig = await startReflector({ before: (server) => server.cue('list', status(500, 'InternalError'), 12) });
    await rig.clock.passUntil(() => rig.server.count('list') === 12);
    const waits = gaps(rig.server.timesOf('list'));
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(800);
    expect(Math.max(...waits)).toBeLessThan(33_000);
    expect(waits.at(-1)).toBeGreaterThan(15_000);
    await rig.watching();
  });

  it('waits as little as at first once a watch has worked again', async () => {
    await using rig = await startReflector({ before: (server) => server.cue('list', breakOff, 8) });
    await rig.watching();
    rig.server.put(collection, configMap('a'));
    await rig.clock.passUntil(() => rig.told.length === 1);
    await rig.clock.pass(2_000);
    rig.server.cue('watch', status(500, 'InternalError'));
    rig.server.breakConnections();
    await rig.clock.passUntil(() => rig.server.count('watch') === 3);
    expect(gaps(rig.server.timesOf('watch')).at(-1)).toBeLessThan(4_000);
  });

  it('opens at most one watch a second on a server that ends each at once', async () => {
    await using rig = await startReflector({ before: (server) => server.cue('watch', endAtOnce, 30) });
    await rig.clock.passUntil(() => rig.server.count('watch') >= 20);
    expect(Math.min(...gaps(rig.server.timesOf('watch')))).toBeGreaterThanOrEqual(1_000);
    expect(rig.server.count('list')).toBe(1);
  });

  it('asks for watches of 300 to 600 s, and continues where one ended', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    for (const chance of [0, 0.999]) {
      rig.clock.chance = chance;
      rig.server.put(collection, configMap('a', { v: String(chance) }));
      await rig.clock.passUntil(() => rig.store.get('default/a')?.data?.['v'] === String(chance));
      rig.server.endWatches();
      await rig.clock.passUntil(() => rig.server.openWatches === 0);
      await rig.watching();
    }
    const watches = rig.server.seen.filter(({ verb }) => verb === 'watch').map(({ query }) => [query.get('resourceVersion'), query.get('timeoutSeconds')]);
    expect(watches).toEqual([['102', '450'], ['103', '300'], ['104', '600']]);
    expect(rig.server.count('list')).toBe(1);
  });
});

describe.concurrent('a watch that goes silent', () => {
  it.each([0, 60_000])('is recovered within 60 s (bookmarks every %i ms)', async (bookmarkMs) => {
    await using rig = await startReflector({ before: two, bookmarkMs });
    await rig.watching();
    await rig.clock.pass(20_000);
    rig.server.fallSilent();
    rig.server.put(collection, configMap('a', { v: '2' }));
    expect(await rig.clock.passUntil(() => rig.told.includes('~default/a 1→2'))).toBeLessThan(60_000);
    rig.server.put(collection, configMap('a', { v: '3' }));
    expect(await rig.clock.passUntil(() => rig.told.includes('~default/a 2→3'))).toBeLessThan(5_000);
  });

  it('is recovered within 60 s of the first event that was lost, whenever that comes', async () => {
    await using rig = await startReflector({ before: two, bookmarkMs: 0 });
    await rig.watching();
    rig.server.fallSilent();
    for (const [quietMs, version] of [[44_500, '2'], [100_000, '3'], [131_000, '4']] as const) {
      await rig.clock.pass(quietMs);
      rig.server.put(collection, configMap('a', { v: version }));
      expect(await rig.clock.passUntil(() => rig.store.get('default/a')?.data?.['v'] === version)).toBeLessThan(60_000);
      rig.server.fallSilent();
    }
  });

  it('is given up when nobody else answers either', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    rig.server.fallSilent();
    rig.server.cue('watch', hang);
    rig.server.put(collection, configMap('a', { v: '2' }));
    expect(await rig.clock.passUntil(() => rig.told.includes('~default/a 1→2'))).toBeLessThan(60_000);
  });

  it('is recovered from a server that takes watches and ends none', async () => {
    await using rig = await startReflector({ before: (server) => (two(server), server.cue('watch', staySilent, 2)) });
    await rig.clock.passUntil(() => rig.server.count('watch') === 1);
    rig.server.put(collection, configMap('a', { v: '2' }));
    expect(await rig.clock.passUntil(() => rig.told.includes('~default/a 1→2'))).toBeLessThan(60_000);
  });

  it('is not given up for a server that is too busy to be asked', async () => {
    await using rig = await startReflector({ before: two, bookmarkMs: 0 });
    await rig.watching();
    rig.server.cue('watch', busy(429, 1), 3);
    await rig.clock.passUntil(() => rig.server.count('watch') === 5);
    rig.server.put(collection, configMap('a', { v: '2' }));
    await rig.clock.passUntil(() => rig.told.includes('~default/a 1→2'));
    const [own] = rig.server.seen.filter(({ verb }) => verb === 'watch').map(({ query }) => query.get('timeoutSeconds'));
    expect(rig.server.seen.filter(({ verb, query }) => verb === 'watch' && query.get('timeoutSeconds') === own)).toHaveLength(1);
  });

  it('leads to a list where the version is gone by the time it is noticed', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    rig.server.fallSilent();
    rig.server.cue('watch', expiredInStream);
    rig.server.quietly(() => rig.server.remove(collection, 'a'));
    expect(await rig.clock.passUntil(() => rig.told.includes('-default/a'))).toBeLessThan(60_000);
  });
});

describe.concurrent('a quiet watch', () => {
  it('stays open until its time is over, with one short question a minute', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    await rig.clock.pass(440_000);
    const watches = rig.server.seen.filter(({ verb }) => verb === 'watch').map(({ query }) => query.get('timeoutSeconds'));
    expect(watches.filter((seconds) => seconds !== '1')).toEqual(['450']);
    expect(watches.filter((seconds) => seconds === '1').length).toBeLessThanOrEqual(8);
    // The list, the watch, and the questions.
    expect(rig.server.connections).toBe(3);
    expect(rig.server.count('list')).toBe(1);
  });

  it('keeps a stream that tells an event a moment later than who was asked', async () => {
    await using rig = await startReflector({ before: two, bookmarkMs: 0 });
    await rig.watching();
    rig.server.cue('watch', (response) => {
      response.writeHead(200).end(`${JSON.stringify({ type: 'MODIFIED', object: configMap('a', { v: '2' }) })}\n`);
      rig.clock.setTimer(500, () => rig.server.put(collection, configMap('a', { v: '2' })));
    });
    await rig.clock.passUntil(() => rig.told.includes('~default/a 1→2'));
    await rig.clock.pass(20_000);
    expect(rig.server.count('watch')).toBe(2);
    expect(rig.server.openWatches).toBe(1);
  });

  it('is listed again after a while, which finds what the stream left out', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    rig.server.quietly(() => rig.server.remove(collection, 'a'));
    expect(await rig.clock.passUntil(() => rig.told.includes('-default/a'), 30 * 60_000)).toBeGreaterThan(10 * 60_000);
    expect(rig.server.count('list')).toBe(2);
  });
});

describe.concurrent('after the storage of the API server was restored to an earlier state', () => {
  /** `a` and `b` at 1; since then `a` was changed, `b` deleted and `c` made. */
  async function changed() {
    const rig = await startReflector({ before: two });
    await rig.watching();
    const earlier = rig.server.snapshot();
    rig.server.put(collection, configMap('a', { v: '2' }));
    rig.server.remove(collection, 'b');
    rig.server.put(collection, configMap('c'));
    for (let write = 0; write < 50; write++) rig.server.put('/apis/elsewhere', configMap('x'));
    await rig.clock.passUntil(() => rig.told.length === 5);
    return Object.assign(rig, { earlier });
  }

  it.each([
    ['its connections broke', (server: ScriptedServer) => server.breakConnections(), 10_000],
    ['its watches ended', (server: ScriptedServer) => server.endWatches(), 10_000],
    ['its watches stay open and say nothing', () => undefined, 6 * 60_000],
  ])('a reflector lists again where %s, and hears of what comes then', async (_, after, withinMs) => {
    await using rig = await changed();
    rig.server.restore(rig.earlier);
    after(rig.server);
    expect(await rig.clock.passUntil(() => rig.told.length === 8, 30 * 60_000)).toBeLessThan(withinMs);
    expect(rig.told.slice(5)).toEqual(['~default/a 2→1', '+default/b', '-default/c']);
    await rig.watching();
    rig.server.put(collection, configMap('b', { v: '2' }));
    rig.server.put(collection, configMap('c'));
    expect(await rig.clock.passUntil(() => rig.told.length === 10)).toBeLessThan(10_000);
    expect(rig.lines.filter(({ level, msg }) => level === 'warn' && /went back/.test(msg))).toHaveLength(1);
  });

  it('a reflector lists again for an event or a bookmark of an older version on a watch that goes on', async () => {
    for (const event of [{ type: 'MODIFIED', object: { ...configMap('a', { v: '3' }), metadata: { name: 'a', namespace: 'default', resourceVersion: '103' } } }, { type: 'BOOKMARK', object: { metadata: { resourceVersion: '103' } } }]) {
      await using rig = await changed();
      rig.server.restore(rig.earlier);
      rig.server.say(event);
      expect(await rig.clock.passUntil(() => rig.told.length === 8, 30 * 60_000)).toBeLessThan(10_000);
      expect(rig.told.slice(5)).toEqual(['~default/a 2→1', '+default/b', '-default/c']);
    }
  });

  it('a store takes what is made again under a name that was deleted in versions that are no more', async () => {
    await using rig = await changed();
    const [earlier] = [rig.earlier];
    earlier.objects.forEach((_, path) => path.endsWith('/b') && (earlier.objects as Map<string, unknown>).delete(path));
    rig.server.restore(earlier);
    rig.server.breakConnections();
    await rig.clock.passUntil(() => rig.told.length === 7);
    await rig.watching();
    rig.server.put(collection, configMap('b', { v: 'again' }));
    expect(await rig.clock.passUntil(() => rig.store.get('default/b')?.data?.['v'] === 'again')).toBeLessThan(10_000);
  });
});

describe.concurrent('a stream that is out of order', () => {
  it('is followed where events come twice, late or for what is unknown', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    rig.server.reach(260);
    const event = (type: string, name: string, version: number, v: string) => {
      const { metadata, ...rest } = configMap(name, { v });
      rig.server.say({ type, object: { ...rest, metadata: { ...metadata, uid: rig.store.get(`default/${name}`)?.metadata.uid ?? name, resourceVersion: String(version) } } });
    };
    event('MODIFIED', 'a', 210, '3');
    event('MODIFIED', 'a', 210, '3');
    event('MODIFIED', 'a', 205, '2');
    event('ADDED', 'a', 220, '4');
    event('MODIFIED', 'new', 230, '1');
    event('DELETED', 'unknown', 240, '1');
    event('DELETED', 'b', 250, '1');
    event('MODIFIED', 'b', 245, '2');
    event('DELETED', 'b', 250, '1');
    event('DELETED', 'a', 215, '1');
    event('ADDED', 'last', 260, '1');
    await rig.clock.passUntil(() => rig.told.includes('+default/last'));
    expect(rig.told.slice(2)).toEqual(['~default/a 1→3', '~default/a 3→4', '+default/new', '-default/b', '+default/last']);
  });

  it('tells a deletion and an addition where an object was made again and the deletion was not seen', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    rig.server.quietly(() => rig.server.remove(collection, 'a'));
    rig.server.put(collection, configMap('a', { v: '2' }));
    await rig.clock.passUntil(() => rig.told.length === 4);
    expect(rig.told.slice(2)).toEqual(['-default/a', '+default/a']);
  });

  it('is opened again from the last event where it turns to nonsense', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    rig.server.cue('watch', (response) => response.writeHead(200).end('{"type":"ADDED","obj'));
    rig.server.endWatches();
    await rig.watching();
    rig.server.put(collection, configMap('a', { v: '2' }));
    await rig.clock.passUntil(() => rig.told.includes('~default/a 1→2'));
    expect(rig.server.count('list')).toBe(1);
  });

  it('goes on where a handler throws or rejects', async () => {
    await using rig = await startReflector({ before: two });
    await rig.watching();
    rig.store.subscribe({
      updated: () => {
        throw new Error('synchronous');
      },
      deleted: async () => Promise.reject(new Error('asynchronous')),
    });
    rig.server.put(collection, configMap('a', { v: '2' }));
    rig.server.remove(collection, 'a');
    rig.server.put(collection, configMap('b', { v: '2' }));
    await rig.clock.passUntil(() => rig.told.includes('~default/b 1→2'));
    const errors = rig.lines.filter(({ level }) => level === 'error').map(({ err }) => (err as Error).message);
    expect(errors.toSorted()).toEqual(['asynchronous', 'synchronous', 'synchronous']);
    expect(rig.server.count('watch')).toBe(1);
  });
});

describe.concurrent('a reflector that is stopped', () => {
  it('stays so, also in the middle of a backoff', async () => {
    await using rig = await startReflector({ before: (server) => server.cue('list', status(500, 'InternalError'), 100) });
    await rig.clock.passUntil(() => rig.server.count('list') === 4 && rig.clock.pendingTimers === 1);
    await rig.stop();
    await rig.clock.pass(120_000);
    expect(rig.server.count('list')).toBe(4);
    expect(rig.clock.pendingTimers).toBe(0);
  });

  it('leaves no watch, timer or listener behind', async () => {
    await using rig = await startReflector({ before: two, bookmarkMs: 0 });
    await rig.watching();
    await rig.stop();
    await rig.clock.passUntil(() => rig.server.openWatches === 0);
    expect(rig.clock.pendingTimers).toBe(0);
    await rig.clock.pass(120_000);
    expect(rig.server.count('watch')).toBe(1);
  });

  it('ends in the middle of a list and of an unanswered request', async () => {
    await using rig = await startReflector({ before: (server) => server.cue('list', hang) });
    await rig.clock.passUntil(() => rig.server.count('list') === 1);
    await rig.stop();
    expect(rig.store.hasSynced).toBe(false);
    expect(rig.clock.pendingTimers).toBe(0);
  });
});

describe.concurrent('the connection', () => {
  it('is reported as lost from when the watch ended until the next one is open', async () => {
    await using rig = await startReflector({ before: two });
    expect(rig.reflector.disconnectedMs).toBe(0);
    await rig.watching();
    rig.server.cue('watch', status(500, 'InternalError'), 10);
    rig.server.endWatches();
    expect(await rig.clock.passUntil(() => rig.reflector.disconnectedMs >= 30_000)).toBeGreaterThanOrEqual(30_000);
    rig.server.behave();
    await rig.watching();
    expect(rig.reflector.disconnectedMs).toBe(0);
  });

  it('that is refused for good with 401 is tried again and again, slowly', async () => {
    await using rig = await startReflector({ before: (server) => (server.token = 'right') });
    await rig.clock.passUntil(() => rig.server.count('list') >= 12);
    const pairs = rig.server.timesOf('list');
    // Each try is one request and one more with credentials read anew.
    expect((pairs[11] ?? 0) - (pairs[0] ?? 0)).toBeGreaterThan(20_000);
    rig.server.token = undefined;
    await rig.watching();
  });
});
