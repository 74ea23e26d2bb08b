import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cache } from '../../src/cache/pass.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import type { ReaderOptions, ReaderTally } from './model-reader.ts';
import { Processes } from './processes.ts';
import type { Soak, SoakFigure } from './soak.ts';
import { atLeast, atMost, exactly, Random, told } from './soak.ts';

const models = 12;
const readers = 3;

/** A directory of models that readers go on reading, while four of twelve may stay and those that went are downloaded again. */
export const liveModels: Soak = {
  name: 'live-models',
  about: 'a directory of models, evicted from under processes that read them',
  run: async ({ seed, scale, progress }) => await evictBeside({ seconds: 600 * scale, seed, progress }),
};

export async function evictBeside({ seconds, seed, progress }: { seconds: number; seed: number; progress: (text: string) => void }): Promise<readonly SoakFigure[]> {
  const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-models-'));
  const root = join(scratch, 'models');
  mkdirSync(root);
  const random = new Random(seed);
  const processes = new Processes();
  const tallies: ReaderTally[] = [];
  let [evicted, revived, errors] = [0, 0, 0];
  try {
    const options = (reader: number): ReaderOptions => ({ root, models, seed: seed + reader });
    const children = Array.from({ length: readers }, (_, reader) => processes.start<ReaderTally>('model-reader.ts', options(reader), (tally) => void tallies.push(tally)));
    using cache = new Cache(
      { name: 'models', format: 'directory', root, home: null, limits: { ...noLimits, maxEntries: 4 }, protect: noProtection },
      { allowedRoots: [scratch], settleMs: 100, restMs: 500 },
    );
    const endsAt = performance.now() + seconds * 1_000;
    while (performance.now() < endsAt) {
      processes.throwIfCrashed();
      for (let number = 0; number < models; number += 1) download(root, number, random);
      const pass = await cache.pass({ mode: 'Enforce', trigger: 'Manual' });
      const purge = await cache.purge();
      evicted += pass.evicted.length;
      revived += pass.revived + purge.revived;
      errors += pass.errors.length + purge.errors.length;
      if (evicted % 500 < pass.evicted.length) progress(`${evicted} evicted, ${revived} revived`);
    }
    await processes.stop(children);
  } finally {
    processes.kill();
    rmSync(scratch, { recursive: true, force: true });
  }
  const sum = (of: keyof ReaderTally) => tallies.reduce((all, tally) => all + tally[of], 0);
  const uses = sum('uses');
  return [
    exactly('readers that told', tallies.length, readers),
    atLeast('models read', uses, Math.floor(seconds * 10)),
    atLeast('evicted', evicted, Math.floor(seconds * 5)),
    atLeast('given back', revived, Math.floor(seconds / 2)),
    told('misses', sum('misses')),
    // Between the last question and the end of the link, less than a millisecond, a path can lead nowhere; without leases it is one in fifty.
    atMost('models that went while they were read', sum('broken'), Math.ceil(uses / 1_000)),
    exactly('errors', errors, 0),
  ];
}

/** As a download does: aside, then by its name, unless that is there. */
function download(root: string, number: number, random: Random): void {
  const name = `model-${number}`;
  if (existsSync(join(root, name))) return;
  const aside = join(root, `.${name}`);
  mkdirSync(join(aside, 'shards'), { recursive: true });
  for (const file of ['config.json', 'shards/weights']) writeFileSync(join(aside, file), name);
  const at = Date.now() / 1_000 - random.between(0, 5_000);
  for (const each of ['config.json', 'shards/weights', 'shards', '.']) utimesSync(join(aside, each), at, at);
  renameSync(aside, join(root, name));
}
