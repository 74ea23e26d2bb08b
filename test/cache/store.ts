import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CacheOptions } from '../../src/cache/pass-options.ts';
import { lockPasses, openOwn } from '../../src/cache/own-folder.ts';
import { Cache } from '../../src/cache/pass.ts';
import type { Store } from '../../src/cache/filesystem-cache.ts';
import type { Dir } from '../../src/disk/dir.ts';
import type { CompiledCache } from '../../src/policy/compiled.ts';
import { scratchDir } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';

export { noLimits };

/** A key by one letter: 64 times. */
export function key(letter: string): string {
  return letter.repeat(64);
}

/** Our folder of a store. */
export function openStoreOwn(root: Dir): Dir {
  return openOwn({ root, allowedRoots: [], format: 'a3s-rootfs' });
}

/** The lock of a store's passes, as another process has it. */
export function lockStore(root: Dir): Disposable {
  using own = openStoreOwn(root);
  return lockPasses(own, root);
}

/** A home with a rootfs store, filled as the runtime fills it. */
export class StoreOnDisk {
  readonly home: string;
  readonly root: string;

  constructor(home = join(scratchDir(), 'home')) {
    this.home = home;
    this.root = join(home, 'cache', 'rootfs');
    mkdirSync(this.root, { recursive: true });
    mkdirSync(join(home, 'boxes'), { recursive: true });
  }

  /** A whole entry with a few files. @param usedSecondsAgo 1,000 by default */
  entry(name: string, { sizeBytes = 100, usedSecondsAgo = 1_000 }: { sizeBytes?: number; usedSecondsAgo?: number } = {}): this {
    mkdirSync(join(this.root, name, 'etc'), { recursive: true });
    writeFileSync(join(this.root, name, 'etc', 'file'), name);
    writeFileSync(join(this.root, name, 'data'), 'x'.repeat(10));
    return this.metadata(name, { size_bytes: sizeBytes, last_accessed: now() - usedSecondsAgo });
  }

  metadata(name: string, fields: Readonly<Record<string, unknown>> = {}): this {
    const whole = { key: name, description: `image ${name.slice(0, 3)}`, size_bytes: 100, cached_at: now() - 10_000, last_accessed: now() - 1_000, ...fields };
    return this.file(`${name}.meta.json`, JSON.stringify(whole, null, 2)).file(`${name}.meta.json.lock`, '');
  }

  file(name: string, content: string | Uint8Array): this {
    writeFileSync(join(this.root, name), content);
    return this;
  }

  /** A box that has an entry as its lower. */
  box(id: string, marker?: string): this {
    mkdirSync(join(this.home, 'boxes', id), { recursive: true });
    if (marker !== undefined) writeFileSync(join(this.home, 'boxes', id, '.rootfs-cache-key'), marker);
    return this;
  }

  spec(limits: Partial<CompiledCache['limits']> = {}): CompiledCache & Store {
    const { home, root } = this;
    return { name: 'rootfs', format: 'a3s-rootfs', root, home, limits: { ...noLimits, ...limits }, protect: noProtection };
  }

  cache(limits: Partial<CompiledCache['limits']> = {}, options: Partial<CacheOptions> = {}): Cache {
    return new Cache(this.spec(limits), { allowedRoots: [dirname(this.home)], clock: new SteppedClock(), restMs: 0, ...options });
  }

  /** What the runtime finds under a key: a hit needs directory and metadata, both real. */
  isServed(name: string): boolean {
    const [tree, metadata] = [join(this.root, name), join(this.root, `${name}.meta.json`)];
    return existsSync(metadata) && lstatSync(metadata).isFile() && lstatSync(tree, { throwIfNoEntry: false })?.isDirectory() === true;
  }

  /** Whether the whole tree of an entry can be reached under its name. */
  isWhole(name: string): boolean {
    return existsSync(join(this.root, name, 'etc', 'file')) && readFileSync(join(this.root, name, 'etc', 'file'), 'utf8') === name && existsSync(join(this.root, name, 'data'));
  }

  get names(): string[] {
    return readdirSync(this.root).filter((name) => !name.endsWith('.lock') && name !== '.cachepolicy').toSorted();
  }

  get trash(): string[] {
    const trash = join(this.root, '.cachepolicy', 'trash');
    return existsSync(trash) ? readdirSync(trash) : [];
  }

  /** Everything below the home with its times: equal where nothing was written. */
  get fingerprint(): string {
    return execFileSync('find', [this.home, '-printf', '%P %i %m %s %T@ %C@ %l\n'], { encoding: 'latin1' }).split('\n').toSorted().join('\n');
  }
}

function now(): number {
  return Math.floor(Date.now() / 1000);
}
