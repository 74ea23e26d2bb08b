import { mkdirSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mount, scratchDir } from '../disk/scratch.ts';
import { StoreOnDisk } from './store.ts';

export const Mi = 2 ** 20;

/** A filesystem of its own, with homes on it. */
export class SmallDisk {
  readonly dir = scratchDir();

  constructor(options: string) {
    mount('-t', 'tmpfs', '-o', options, 'tmpfs', this.dir);
  }

  store(name = 'home'): StoreOnDisk {
    return new StoreOnDisk(join(this.dir, name));
  }

  get availableBytes(): number {
    const { bavail, bsize } = statfsSync(this.dir);
    return bavail * bsize;
  }

  get inodesFree(): number {
    return statfsSync(this.dir).ffree;
  }
}

/** An entry that is as large as its metadata says. @param files how many the bytes are spread over */
export function largeEntry(store: StoreOnDisk, name: string, { sizeBytes = Mi, usedSecondsAgo = 1_000, files = 1 } = {}): void {
  store.entry(name, { sizeBytes, usedSecondsAgo });
  mkdirSync(join(store.root, name, 'files'));
  for (let i = 0; i < files; i += 1) writeFileSync(join(store.root, name, 'files', String(i)), Buffer.alloc(Math.floor(sizeBytes / files)));
}
