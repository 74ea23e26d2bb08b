import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { asRoot, listing, scratchDir } from '../disk/scratch.ts';

/** A directory outside that nothing may touch: what it holds, and how it looks at the end. */
export class Canary {
  readonly path = scratchDir();
  readonly #before: string[];

  constructor() {
    mkdirSync(join(this.path, 'inner'));
    for (const name of ['whole', 'inner/whole']) writeFileSync(join(this.path, name), 'canary', { mode: 0o640 });
    this.#before = this.#look();
  }

  expectWhole(): void {
    expect(this.#look()).toEqual(this.#before);
  }

  #look(): string[] {
    // A hard link from outside changes the number of links, and nothing else.
    return [...listing(this.path).map((line) => line.replace(/ \d+ (\d+ \S+ \S*)$/, ' $1')), readFileSync(join(this.path, 'whole'), 'utf8')];
  }
}

/** What cannot be made here: no rights, or a filesystem that lacks it. */
export class CannotMake extends Error {}

export function make(file: string, ...args: readonly string[]): void {
  try {
    execFileSync(file, args, { stdio: 'pipe' });
  } catch (error) {
    throw new CannotMake(`${file} ${args.slice(0, 1).join(' ')} is refused here`, { cause: error });
  }
}

export function needsRoot(): void {
  if (!asRoot) throw new CannotMake('only root can make it');
}

export async function socketAt(path: string): Promise<void> {
  const server = createServer();
  // A socket's path has at most 107 bytes; its directory can be named by a descriptor.
  const dir = openSync(dirname(path), 'r');
  onTestFinished(() => closeSync(dir));
  await new Promise<void>((resolve) => server.listen(`/proc/self/fd/${dir}/${basename(path)}`, resolve));
  // The name stays when the server goes.
  onTestFinished(() => void server.close());
}

/** Marks a file, for the time of the test, wherever it is moved meanwhile. */
export function fixed(attribute: '+i' | '+a', path: string): void {
  needsRoot();
  make('chattr', attribute, path);
  const inode = statSync(path).ino;
  const top = dirname(dirname(dirname(path)));
  onTestFinished(() => void execFileSync('find', [top, '-xdev', '-inum', `${inode}`, '-exec', 'chattr', attribute.replace('+', '-'), '{}', '+']));
}

/** Makes what a row says, or says why it cannot be made here. */
export async function prepare(skip: (note: string) => void, act: () => void | Promise<void>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if (!(error instanceof CannotMake)) throw error;
    skip(error.message);
    return false;
  }
}
