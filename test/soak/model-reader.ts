/** A process that reads models file after file, as whoever serves one does, until it is told to stop; then it tells what it met. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../../src/errors.ts';
import { Random } from './soak.ts';

export interface ReaderOptions {
  readonly root: string;
  readonly models: number;
  readonly seed: number;
}

/** Uses: all files of a model were read, while the first was open. Misses: it was not there. Broken: it went while it was read. */
export interface ReaderTally {
  uses: number;
  misses: number;
  broken: number;
}

async function read({ root, models, seed }: ReaderOptions): Promise<void> {
  const random = new Random(seed);
  const tally: ReaderTally = { uses: 0, misses: 0, broken: 0 };
  let stopped = false;
  process.on('message', () => (stopped = true));
  process.on('disconnect', () => process.exit(0));
  while (!stopped) {
    const model = join(root, `model-${random.below(models)}`);
    tally[await use(model, random)] += 1;
    await sleep(random.between(0, 50));
  }
  process.send?.(tally, () => process.disconnect());
}

async function use(model: string, random: Random): Promise<keyof ReaderTally> {
  let fd: number | undefined;
  try {
    fd = openSync(join(model, 'config.json'), 'r');
    await sleep(random.between(0, 10));
    return readFileSync(join(model, 'shards', 'weights'), 'utf8') === readFileSync(fd, 'utf8') ? 'uses' : 'broken';
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    return fd === undefined ? 'misses' : 'broken';
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

if (process.send !== undefined) await read(JSON.parse(process.argv[2] ?? '') as ReaderOptions);
