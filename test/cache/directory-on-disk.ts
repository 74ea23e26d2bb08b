import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CacheOptions } from '../../src/cache/pass-options.ts';
import { Cache } from '../../src/cache/pass.ts';
import type { CompiledCache } from '../../src/policy/compiled.ts';
import { scratchDir } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';
import { noLimits } from './store.ts';
import { noProtection } from '../../src/policy/limits.ts';

/** A directory whose children are the entries, with a folder of its own around it. */
export class DirectoryOnDisk {
  readonly root: string;

  /** @param parent a folder of its own by default */
  constructor(parent = scratchDir()) {
    this.root = join(parent, 'models');
    mkdirSync(this.root, { recursive: true });
  }

  /** A folder with two files, one of them a folder deeper. @param usedSecondsAgo of everything inside, 1,000 by default */
  folder(name: string, { usedSecondsAgo = 1_000, bytes = 10_000 }: { usedSecondsAgo?: number; bytes?: number } = {}): this {
    const path = join(this.root, name);
    mkdirSync(join(path, 'shards'), { recursive: true });
    writeFileSync(join(path, 'config.json'), name);
    writeFileSync(join(path, 'shards', 'weights'), Buffer.alloc(bytes, 1));
    const at = Date.now() / 1000 - usedSecondsAgo;
    for (const each of ['config.json', 'shards/weights', 'shards', '.']) utimesSync(join(path, each), at, at);
    return this;
  }

  file(name: string, { usedSecondsAgo = 1_000, bytes = 10_000 }: { usedSecondsAgo?: number; bytes?: number } = {}): this {
    const at = Date.now() / 1000 - usedSecondsAgo;
    writeFileSync(join(this.root, name), Buffer.alloc(bytes, 1));
    utimesSync(join(this.root, name), at, at);
    return this;
  }

  spec(limits: Partial<CompiledCache['limits']> = {}): CompiledCache {
    return { name: 'models', format: 'directory', root: this.root, home: null, limits: { ...noLimits, ...limits }, protect: noProtection };
  }

  cache(limits: Partial<CompiledCache['limits']> = {}, options: Partial<CacheOptions> = {}): Cache {
    return new Cache(this.spec(limits), { allowedRoots: [dirname(this.root)], clock: new SteppedClock(), restMs: 0, ...options });
  }

  /** Whether all of a folder's files can be reached under its name. */
  isWhole(name: string): boolean {
    const path = join(this.root, name);
    return existsSync(join(path, 'config.json')) && readFileSync(join(path, 'config.json'), 'utf8') === name && existsSync(join(path, 'shards', 'weights'));
  }

  get names(): string[] {
    return readdirSync(this.root).filter((name) => name !== '.cachepolicy').toSorted();
  }

  /** Our folder of it: outside, or in itself where no place outside serves. Undefined where there is none. */
  get own(): string | undefined {
    const outside = join(dirname(this.root), '.cachepolicy');
    const prefix = `${statSync(this.root).ino}-`;
    const found = existsSync(outside) ? readdirSync(outside).find((name) => name.startsWith(prefix)) : undefined;
    if (found !== undefined) return join(outside, found);
    return existsSync(join(this.root, '.cachepolicy')) ? join(this.root, '.cachepolicy') : undefined;
  }

  /** A path in our folder. */
  inOwn(...path: string[]): string {
    return join(this.own ?? '/nonexistent', ...path);
  }

  get trash(): string[] {
    return existsSync(this.inOwn('trash')) ? readdirSync(this.inOwn('trash')) : [];
  }
}
