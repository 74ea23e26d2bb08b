import fc from 'fast-check';
import { expect, it } from 'vitest';

import type { ConfigMap, ReflectorRig } from './rig.ts';
import { collection, configMap, startReflector } from './rig.ts';
import { breakOff, busy, endAtOnce, expiredInStream, hang, status } from './scripted-server.ts';

const names = ['a', 'b', 'c', 'd'];

/** Everything that may happen, each followed by a pause in seconds. */
const happening = fc.tuple(
  fc.oneof(
    fc.record({ do: fc.constant('put' as const), name: fc.constantFrom(...names) }),
    fc.record({ do: fc.constant('remove' as const), name: fc.constantFrom(...names) }),
    fc.record({ do: fc.constantFrom('endWatches' as const, 'breakConnections' as const, 'fallSilent' as const) }),
    fc.record({ do: fc.constant('cue' as const), verb: fc.constantFrom('list' as const, 'watch' as const), act: fc.integer({ min: 0, max: 7 }) }),
  ),
  fc.constantFrom(0, 0, 0.5, 3, 50),
);

const acts = [breakOff, busy(429, 3), busy(503, 1), status(500, 'InternalError'), status(410, 'Expired'), expiredInStream, endAtOnce, hang];

function happen({ server }: ReflectorRig, step: number, what: typeof happening extends fc.Arbitrary<[infer H, number]> ? H : never): void {
  if (what.do === 'put') server.put(collection, configMap(what.name, { v: String(step) }));
  else if (what.do === 'remove') server.remove(collection, what.name);
  else if (what.do === 'cue') server.cue(what.verb, acts[what.act] ?? breakOff);
  else server[what.do]();
}

it('whatever a server does, the store is equal to it soon after it mends, and the handlers were told each step', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 25 }), fc.double({ min: 0, max: 0.999, noNaN: true }), async (happenings, chance) => {
      await using rig = await startReflector();
      rig.clock.chance = chance;
      const mirror = new Map<string, string | undefined>();
      rig.store.subscribe({
        added: ({ metadata, data }) => {
          expect(mirror.has(metadata.name)).toBe(false);
          mirror.set(metadata.name, data?.['v']);
        },
        updated: ({ metadata, data }, old) => {
          expect(mirror.get(metadata.name)).toBe(old.data?.['v']);
          mirror.set(metadata.name, data?.['v']);
        },
        deleted: ({ metadata }) => expect(mirror.delete(metadata.name)).toBe(true),
      });
      for (const [index, [what, pauseSeconds]] of happenings.entries()) {
        happen(rig, index, what);
        if (pauseSeconds > 0) await rig.clock.pass(pauseSeconds * 1000);
      }
      rig.server.behave();
      rig.server.put(collection, configMap('last'));
      const present = () => new Map([...names, 'last'].flatMap((name) => {
        const object = rig.server.get(`${collection}/${name}`) as ConfigMap | undefined;
        return object === undefined ? [] : [[name, object.data?.['v']] as const];
      }));
      const same = () => mirror.size === present().size && [...present()].every(([name, value]) => mirror.has(name) && mirror.get(name) === value);
      expect(await rig.clock.passUntil(same, 120_000)).toBeLessThanOrEqual(75_000);
      expect(new Map([...rig.store.values()].map(({ metadata, data }) => [metadata.name, data?.['v']]))).toEqual(present());
      expect(rig.lines.filter(({ level }) => level === 'error')).toEqual([]);
    }),
    { numRuns: 25 },
  );
});
