import { closeSync, existsSync, lstatSync, openSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Fault } from '../../src/disk/dir.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';
import { SteppedClock } from './stepped-clock.ts';
import { StoppingDisk, stops } from './stopping-disk.ts';

const enforce = { mode: 'Enforce', trigger: 'Start' } as const;
const patienceMs = 180_000;
const files: Readonly<Record<string, number>> = { file: 8_000, 'kept.gguf': 4_000 };

/** The folder and the file may go; what is held is opened below, and is the oldest. */
function four(): DirectoryOnDisk {
  const disk = new DirectoryOnDisk().folder('folder', { usedSecondsAgo: 300 }).file('file', { usedSecondsAgo: 200, bytes: 8_000 })
    .folder('held', { usedSecondsAgo: 400 }).file('kept.gguf', { usedSecondsAgo: 10, bytes: 4_000 });
  open(join(disk.root, 'held', 'shards', 'weights'));
  return disk;
}

function open(path: string): void {
  const fd = openSync(path, 'r');
  onTestFinished(() => closeSync(fd));
}

function evicting(...duringWaits: ((disk: DirectoryOnDisk) => void)[]): (disk: DirectoryOnDisk, fault?: Fault) => Promise<void> {
  return async (disk, fault) => {
    const clock = new SteppedClock(...duringWaits.map((act) => () => act(disk)));
    using cache = disk.cache({ maxEntries: 2 }, { clock, ...(fault && { fault }) });
    await cache.pass(enforce);
    await cache.purge();
  };
}

const scenarios = {
  'an eviction with its purge': evicting(),
  'a revival, because a file of a folder was opened': evicting((disk) => open(join(disk.root, 'folder', 'config.json'))),
  'a revival, because a folder was written to': evicting((disk) => writeFileSync(join(disk.root, 'folder', 'shards', 'more'), '')),
  'a download that replaced a file on its way out': evicting((disk) => {
    writeFileSync(join(disk.root, '.new'), Buffer.alloc(files['file'] ?? 0, 2));
    renameSync(join(disk.root, '.new'), join(disk.root, 'file'));
  }),
};

/** Whatever has a name is whole under it, by a link where it is leaving; what is in use never left. */
function always(disk: DirectoryOnDisk): void {
  for (const name of ['folder', 'held']) if (existsSync(join(disk.root, name))) expect(disk.isWhole(name), name).toBe(true);
  for (const [name, bytes] of Object.entries(files)) if (existsSync(join(disk.root, name))) expect(readFileSync(join(disk.root, name)), name).toHaveLength(bytes);
  expect([disk.isWhole('held'), lstatSync(join(disk.root, 'held')).isDirectory(), existsSync(join(disk.root, 'kept.gguf'))]).toEqual([true, true, true]);
}

/** A new start, a day later. */
async function finishes(disk: DirectoryOnDisk, fault?: Fault): Promise<void> {
  const clock = new SteppedClock();
  clock.advance(86_400_000);
  using cache = disk.cache({}, { clock, ...(fault && { fault }) });
  expect((await cache.pass(enforce)).errors).toEqual([]);
  expect(await cache.purge()).toMatchObject({ errors: [], nextDueAtMs: null });
}

function isTidy(disk: DirectoryOnDisk): void {
  expect(disk.trash).toEqual([]);
  expect(readdirSync(disk.root, { withFileTypes: true }).filter((entry) => entry.isSymbolicLink())).toEqual([]);
}

describe.each(Object.entries(scenarios))('wherever the disk stops during %s', (_, act) => {
  test('every entry of a directory is whole under its name or gone, and the next start finishes it', async () => {
    let steps = 0;
    for (; ; steps += 1) {
      const disk = four();
      if (!(await stops(steps, (fault) => act(disk, fault)))) break;
      always(disk);
      await finishes(disk);
      always(disk);
      isTidy(disk);
    }
    expect(steps).toBeGreaterThan(3);
  }, patienceMs);

  test('and so it is where the disk stops again while that is finished', async () => {
    const whole = new StoppingDisk(Number.POSITIVE_INFINITY);
    await act(four(), whole.fault);
    const stride = Math.ceil(whole.taken / 6);
    for (let steps = 1; steps <= whole.taken; steps += stride) {
      for (let again = 0; ; again += stride) {
        const disk = four();
        await stops(steps, (fault) => act(disk, fault));
        const stoppedAgain = await stops(again, (fault) => finishes(disk, fault));
        always(disk);
        if (!stoppedAgain) break;
        await finishes(disk);
        always(disk);
        isTidy(disk);
      }
    }
  }, patienceMs);
});
