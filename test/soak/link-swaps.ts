import { fork } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Cache } from '../../src/cache/pass.ts';
import type { Clock } from '../../src/cache/site.ts';
import { systemClock } from '../../src/cache/site.ts';
import { copyTree } from '../../src/disk/copy-tree.ts';
import { deleteTree } from '../../src/disk/delete-tree.ts';
import type { Dir } from '../../src/disk/dir.ts';
import { openRoot } from '../../src/disk/pinned-root.ts';
import { Slices } from '../../src/disk/slices.ts';
import { newestChangeMs } from '../../src/disk/tree-age.ts';
import { OperatorError } from '../../src/errors.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import type { Soak } from './soak.ts';
import { atLeast, exactly, TemporaryDir, told } from './soak.ts';

export interface LinkSwapsResult {
  readonly rounds: number;
  /** Walks that ended with a link in the place of the directory, and with the directory itself. */
  readonly metLink: number;
  readonly metDirectory: number;
  readonly wrongs: readonly string[];
}

/** Walks, copies, deletes and evicts trees of which a directory is swapped for a link to a canary all the while. */
export async function swapLinks({ rounds, progress }: { rounds: number; progress?: (text: string) => void }): Promise<LinkSwapsResult> {
  using scratch = new TemporaryDir();
  const swapped = new SwappedTree(scratch.path);
  const swapper = fork(join(import.meta.dirname, 'swapper.ts'), [JSON.stringify(swapped.pairs)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const ended = once(swapper, 'exit');
  try {
    await Promise.race([once(swapper, 'message'), ended]);
    const acts = [() => swapped.delete(), () => swapped.walk(), () => swapped.copy(), () => swapped.delete(), () => swapped.evict()];
    for (let round = 0; round < rounds && swapped.wrongs.length === 0; round += 1) {
      await acts[round % acts.length]?.();
      swapped.lookAtCanary(`round ${round}`);
      if (round % 1_000 === 999) progress?.(`${round + 1} of ${rounds} rounds`);
    }
  } finally {
    swapper.kill('SIGKILL');
  }
  await ended;
  return { rounds, metLink: swapped.metLink, metDirectory: swapped.metDirectory, wrongs: swapped.wrongs };
}

const key = 'a'.repeat(64);

class SwappedTree {
  metLink = 0;
  metDirectory = 0;
  readonly wrongs: string[] = [];
  readonly #scratch: string;
  readonly #box: string;
  readonly #canary: string;
  readonly #root: string;

  constructor(scratch: string) {
    this.#scratch = scratch;
    this.#box = join(scratch, 'box');
    this.#canary = join(scratch, 'canary');
    this.#root = join(scratch, 'home', 'cache', 'rootfs');
    for (const dir of [this.#box, this.#canary, this.#root, join(scratch, 'home', 'boxes')]) mkdirSync(dir, { recursive: true });
    for (let i = 0; i < 20; i += 1) writeFileSync(join(this.#canary, `canary-${i}`), 'canary');
  }

  /** What is swapped: a directory inside of a tree, and the directory of an entry. */
  get pairs(): [string, string][] {
    return [[join(this.#box, 'link'), join(this.#box, 'round', 'inner')], [join(this.#scratch, 'link'), join(this.#root, key)]];
  }

  async delete(): Promise<void> {
    using box = await this.#prepare();
    await deleteTree(box, 'round', { totalBytes: 0 });
    this.#count();
  }

  async walk(): Promise<void> {
    using box = await this.#prepare();
    await newestChangeMs(box, 'round', { enoughMs: Date.now() + 86_400_000, slices: new Slices() });
    this.#count();
  }

  async copy(): Promise<void> {
    using box = await this.#prepare();
    using source = box.openDir('round');
    // What was swapped at that moment cannot be read, and the copy ends there.
    await onlyKnownErrors(copyTree(source, box, 'copy'));
    // The link itself may have been copied, as a link.
    const inner = join(this.#box, 'copy', 'inner');
    const copied = lstatSync(inner, { throwIfNoEntry: false })?.isDirectory() ? readdirSync(inner) : [];
    this.wrongs.push(...copied.filter((name) => name.startsWith('canary')).map((name) => `${name} was copied from outside`));
    await deleteTree(box, 'copy');
    this.#count();
  }

  async evict(): Promise<void> {
    using outside = openRoot(this.#scratch, { allowedRoots: [dirname(this.#scratch)] });
    using root = openRoot(this.#root, { allowedRoots: [this.#scratch] });
    // By descriptors: removal by path would follow what is swapped in.
    await deleteAll([[outside, 'link'], [root, key]]);
    mkdirSync(join(this.#root, key));
    writeFileSync(join(this.#root, key, 'file'), '');
    writeFileSync(join(this.#root, `${key}.meta.json`), JSON.stringify({ key, description: '', size_bytes: 1, cached_at: 1, last_accessed: 1 }));
    symlinkSync(this.#canary, join(this.#scratch, 'link'));
    // Days later than before, so that what a round left is recovered by the next.
    const clock: Clock = { ...systemClock, now: () => Date.now() + 86_400_000, sleep: async () => {} };
    using cache = new Cache(
      { name: 'rootfs', format: 'a3s-rootfs', root: this.#root, home: join(this.#scratch, 'home'), limits: { ...noLimits, maxEntries: 0 }, protect: noProtection },
      { allowedRoots: [this.#scratch], clock, restMs: 0 },
    );
    await onlyKnownErrors(cache.pass({ mode: 'Enforce', trigger: 'Change' }));
    await onlyKnownErrors(cache.purge());
  }

  lookAtCanary(when: string): void {
    const names = readdirSync(this.#canary);
    if (names.length !== 20 || names.some((name) => readFileSync(join(this.#canary, name), 'utf8') !== 'canary')) this.wrongs.push(`${when}: the canary has ${names.length} of 20 files`);
  }

  /** A tree whose inner directory the swapper finds at once. */
  async #prepare(): Promise<Dir> {
    const box = openRoot(this.#box, { allowedRoots: [this.#scratch] });
    await deleteAll([[box, 'link'], [box, 'round'], [box, 'prepared']]);
    mkdirSync(join(this.#box, 'prepared', 'inner', 'below'), { recursive: true });
    for (let i = 0; i < 5; i += 1) writeFileSync(join(this.#box, 'prepared', 'inner', `file-${i}`), '');
    symlinkSync(this.#canary, join(this.#box, 'link'));
    renameSync(join(this.#box, 'prepared'), join(this.#box, 'round'));
    return box;
  }

  #count(): void {
    if (lstatSync(join(this.#box, 'link')).isSymbolicLink()) this.metDirectory += 1;
    else this.metLink += 1;
  }
}

/** What is gone may be swapped in once more. */
async function deleteAll(names: readonly (readonly [Dir, string])[]): Promise<void> {
  while (names.some(([dir, name]) => dir.statOf(name) !== undefined)) for (const [dir, name] of names) await deleteTree(dir, name);
}

async function onlyKnownErrors(act: Promise<unknown>): Promise<void> {
  await act.catch((error: unknown) => {
    if (!(error instanceof OperatorError)) throw error;
  });
}

export const linkSwaps: Soak = {
  name: 'link-swaps',
  about: 'directories are swapped for links to a canary while they are walked, copied, deleted and evicted',
  run: async ({ scale, progress }) => {
    const most = Math.ceil(10_000 * scale);
    const { rounds, metLink, metDirectory, wrongs } = await swapLinks({ rounds: most, progress });
    return [
      atLeast('rounds', rounds, most),
      exactly('times something outside was touched', wrongs.length, 0),
      ...wrongs.slice(0, 5).map((wrong) => told('', wrong)),
      // Or there was no race.
      atLeast('walks that ended at the link', metLink, Math.ceil(most / 50)),
      atLeast('walks that ended at the directory', metDirectory, Math.ceil(most / 50)),
    ];
  },
};
