import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import type { Cache } from '../../src/cache/pass.ts';

const src = join(import.meta.dirname, '../../src');

interface Removal {
  readonly file: string;
  /** What stands there, and what would stand there without the protection. */
  readonly edits: readonly (readonly [string, string])[];
}

const order = `['MoveMetadata', 'Settle', 'ExchangeForLink', 'Settle', 'RemoveLink', 'MoveTree']`;

/** Each protection of an eviction beside the runtime, and the smallest change of the sources that takes it out. */
const removals = {
  'the first settle': { file: 'cache/formats/a3s-store.ts', edits: [[order, `['MoveMetadata', 'ExchangeForLink', 'Settle', 'RemoveLink', 'MoveTree']`]] },
  'the exchange': {
    file: 'cache/evict.ts',
    edits: [
      ['root.symlink(aside, aside);', ''],
      ['if (!root.exchange(item.name, root, asideName(item))) return false;', `if (root.rename(item.name, root, asideName(item)) !== 'Moved') return false;`],
    ],
  },
  'the second settle': { file: 'cache/formats/a3s-store.ts', edits: [[order, `['MoveMetadata', 'Settle', 'ExchangeForLink', 'RemoveLink', 'MoveTree']`]] },
  'the second look at the holds before a purge': {
    file: 'cache/purge.ts',
    edits: [['hold: seen.hold ?? (seen.hasTree && hasRested ? await holdOnTree(site, item, slices) : undefined)', 'hold: undefined']],
  },
  'the rest in the trash': { file: 'cache/purge.ts', edits: [['const stat = trash.statOf(id);', 'return nowMs; const stat = trash.statOf(id);']] },
  'the second look at the metadata of a victim': { file: 'cache/evict.ts', edits: [['if (!(await isAsPlanned(this.#site, { name, entry }, this.#slices))) return undefined;', '']] },
} satisfies Record<string, Removal>;

export type Protection = keyof typeof removals;

export const protections = Object.keys(removals) as readonly Protection[];

/**
 * Builds the engine from the sources with one protection taken out, to show that it is missed.
 * @param dir where the module goes, for the caller to remove
 * @returns the path of a module that exports `Cache`
 */
export async function buildEngineWithout(protection: Protection, dir = tmpdir()): Promise<string> {
  const { file, edits }: Removal = removals[protection];
  const outfile = join(dir, `cachepolicy-${process.pid}-without-${protection.replaceAll(' ', '-')}.mjs`);
  await build({
    entryPoints: [join(src, 'cache/pass.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    logLevel: 'error',
    plugins: [{
      name: 'weaken',
      setup: ({ onLoad, onResolve }) => {
        // A native module stays where it is installed.
        onResolve({ filter: /^koffi$/ }, () => ({ path: import.meta.resolve('koffi'), external: true }));
        onLoad({ filter: /\.ts$/ }, ({ path }) => (path === join(src, file) ? { contents: edited(path, edits), loader: 'ts' } : undefined));
      },
    }],
  });
  return outfile;
}

export async function loadEngine(path: string): Promise<typeof Cache> {
  return ((await import(pathToFileURL(path).href)) as { Cache: typeof Cache }).Cache;
}

function edited(path: string, edits: Removal['edits']): string {
  return edits.reduce((text, [from, to]) => {
    if (text.split(from).length !== 2) throw new Error(`${path} no longer says once: ${from}; take the protection out in another way`);
    return text.replace(from, () => to);
  }, readFileSync(path, 'utf8'));
}
