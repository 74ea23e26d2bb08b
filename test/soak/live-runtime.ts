import { rmSync } from 'node:fs';
import { buildEngineWithout, protections } from '../cache/weakened-engine.ts';
import type { BesideRuntimeResult } from './beside-runtime.ts';
import { besideRuntime, fewKeys, manyKeys, wholeEngine } from './beside-runtime.ts';
import type { Soak, SoakFigure } from './soak.ts';
import { atLeast, exactly, told } from './soak.ts';

const aMinute = 60_000;

export const liveRuntime: Soak = {
  name: 'live-runtime',
  about: 'boxes of a double of the runtime use the cache from other processes while it is kept within its limits',
  run: async ({ seed, scale, progress }) => {
    const amount = { uses: Math.ceil(5_000 * scale), evictions: Math.ceil(2_000 * scale), timeoutMs: 15 * aMinute, engine: wholeEngine, seed, progress };
    const few = await besideRuntime({ ...amount, ...fewKeys });
    const many = await besideRuntime({ ...amount, ...manyKeys });
    // Beside its own prune and a disk that is full now and then, both of which are rare where limits and free space are ours to keep.
    const own = await besideRuntime({ ...amount, ...fewKeys, uses: Math.ceil(1_000 * scale), evictions: 0, fullDisk: 0.03, ownMaxEntries: fewKeys.maxEntries + 6 });
    return [
      atLeast('uses', few.totalUses + many.totalUses, 2 * amount.uses),
      atLeast('evictions', few.evicted + many.evicted, 2 * amount.evictions),
      ...figuresOf('few keys', few),
      ...figuresOf('many keys', many),
      ...figuresOf('beside its own prune and a full disk', own),
      told('removed by the runtime itself', own.removed),
      told('of which a box was harmed', own.ownHarm),
    ];
  },
};

function figuresOf(where: string, { uses, totalUses, evicted, revived, raced, wrongs }: BesideRuntimeResult): SoakFigure[] {
  return [
    exactly(`${where}: harmed, untrue or left`, wrongs.length, 0),
    ...wrongs.slice(0, 5).map((wrong) => told('', wrong)),
    told(`${where}: uses, of them on a whole tree`, `${totalUses}, ${uses.Whole}`),
    told(`${where}: evicted, revived, raced`, `${evicted}, ${revived}, ${raced}`),
    told(`${where}: puts, refused, failed`, `${uses.Put}, ${uses.PutRefused}, ${uses.PutFailed}`),
    told(`${where}: boxes that took longer than is promised`, uses.TooLate),
  ];
}

export const missedProtections: Soak = {
  name: 'missed-protections',
  about: 'the same with one protection of the order taken out of the sources: a box must come to harm',
  run: async ({ seed, scale, progress }) => {
    const most = Math.max(100, Math.ceil(8_000 * scale));
    const figures: SoakFigure[] = [];
    for (const protection of protections) {
      const engine = await buildEngineWithout(protection);
      try {
        const result = await besideRuntime({ seed, engine, ...fewKeys, uses: most, evictions: 0, timeoutMs: 8 * aMinute, untilHarm: true, progress });
        progress(`without ${protection}: ${result.wrongs[0] ?? 'no harm'}`);
        figures.push({ what: `uses until harm without ${protection}`, value: result.totalUses, wanted: `harm within ${most}`, holds: result.wrongs.length > 0 });
      } finally {
        rmSync(engine);
      }
    }
    return figures;
  },
};
