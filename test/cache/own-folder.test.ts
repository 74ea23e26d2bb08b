import { execFileSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { asRoot, mount, scratchDir } from '../disk/scratch.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';

const enforce = { mode: 'Enforce', trigger: 'Start' } as const;

/** Somebody with no rights but those that everybody has. */
function asTenant(uid: number, ...command: string[]): string {
  return execFileSync('setpriv', [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--', ...command], { encoding: 'utf8', stdio: 'pipe' });
}

/** Whose parent directories everybody may pass. */
function openDisk(): DirectoryOnDisk {
  const disk = new DirectoryOnDisk();
  chmodSync(join(disk.root, '..'), 0o755);
  return disk;
}

describe.runIf(asRoot)('an entry on its way out', () => {
  test('is seen whole, until its name goes, by who mounts the directory of the cache alone and has no rights', async () => {
    const disk = openDisk().folder('a').folder('b', { usedSecondsAgo: 10 });
    const view = scratchDir();
    chmodSync(view, 0o755);
    mount('--bind', disk.root, view);
    const seen: [step: string, content: string][] = [];
    let isThere = true;
    using cache = disk.cache({ maxEntries: 1 }, {
      fault: (step) => {
        if (isThere) seen.push([step, asTenant(65534, 'sh', '-c', `wc -c < ${view}/a/shards/weights; cat ${view}/a/config.json`)]);
        isThere &&= step !== `unlink ${disk.root}/a`;
      },
    });
    expect((await cache.pass(enforce)).evicted.map(({ key }) => key)).toEqual(['a']);
    expect(isThere).toBe(false);
    expect(seen.filter(([, content]) => content !== '10000\na')).toEqual([]);
    expect(seen.filter(([step]) => step.startsWith('exchange')).length).toBeGreaterThan(0);
  });
});
