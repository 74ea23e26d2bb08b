import { closeSync, linkSync, mkdirSync, openSync, readdirSync, statfsSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { asRoot, mount } from '../disk/scratch.ts';
import { Machine } from './machine.ts';

const Mi = 1024 * 1024;
const letters = 'abcdefgh';

interface Models {
  readonly machine: Machine;
  readonly path: string;
  readonly policy: (limits: string) => string;
  readonly usedBytes: () => number;
}

/** A directory on a filesystem of its own. */
function models(): Models {
  const machine = Machine.forTest();
  mount('-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', machine.allowedRoot);
  const path = join(machine.allowedRoot, 'models');
  mkdirSync(path);
  const policy = (limits: string) => machine.directoryPolicy({ path, limits, minIdle: '0s' });
  const usedBytes = () => {
    const { blocks, bfree, bsize } = statfsSync(machine.allowedRoot);
    return (blocks - bfree) * bsize;
  };
  return { machine, path, policy, usedBytes };
}

/** Folders a to h, the first letter least recently used: each has 64Ki of its own, and a link to each of the same files. */
function copies(path: string, { files = 1, bytes = 10 * Mi, of = letters } = {}): void {
  const blobs = Array.from({ length: files }, (_, i) => `blob-${i}`);
  const longAgo = Date.now() / 1000 - 20_000;
  for (const [i, letter] of [...of].entries()) {
    const folder = join(path, letter);
    mkdirSync(folder);
    writeFileSync(join(folder, 'config'), Buffer.alloc(65_536, 1));
    for (const blob of blobs) {
      if (i > 0) linkSync(join(path, of[0]!, blob), join(folder, blob));
      else writeFileSync(join(folder, blob), Buffer.alloc(bytes, 1));
      utimesSync(join(folder, blob), longAgo, longAgo);
    }
    for (const name of ['config', '.']) utimesSync(join(folder, name), longAgo + 100 * (i + 1), longAgo + 100 * (i + 1));
  }
}

const standing = (path: string) => readdirSync(path).filter((name) => !name.startsWith('.')).join('');
const cacheIn = (stdout: string) => (JSON.parse(stdout) as { caches: { evicted: { key: string; freedBytes: number }[]; wouldEvict: { key: string; freedBytes: number }[]; stats: { totalBytes: number }; purged: { bytes: number }; usage: string }[] }).caches[0]!;
const freedBy = (entries: readonly { freedBytes: number }[]) => entries.reduce((sum, { freedBytes }) => sum + freedBytes, 0);

describe.runIf(asRoot)('entries of a directory that are hard links of one another', () => {
  it('are planned and pruned by what really comes free: one run holds the limit, and reports what the filesystem got back', async () => {
    const { machine, path, policy, usedBytes } = models();
    copies(path);
    const file = policy('{maxBytes: 8Mi}');
    const planned = cacheIn((await machine.run('plan', '-f', file, '-o', 'json')).stdout);
    expect(planned.wouldEvict.map(({ key }) => key).join('')).toBe(letters);
    // The reserve of the first run takes a MiB.
    await machine.run('prune', '-f', policy('{maxBytes: 1Gi}'), '--settle', '0s');
    const before = usedBytes();
    policy('{maxBytes: 8Mi}');
    const { code, stdout } = await machine.run('prune', '-f', file, '--settle', '0s', '-o', 'json');
    expect(code).toBe(0);
    const pruned = cacheIn(stdout);
    expect(pruned.evicted).toEqual(planned.wouldEvict);
    expect(pruned.stats.totalBytes).toBeLessThanOrEqual(8 * Mi);
    expect(standing(path)).toBe('');
    expect(freedBy(pruned.evicted)).toBe(10 * Mi + 8 * 65_536);
    expect(pruned.purged.bytes).toBe(10 * Mi + 8 * 65_536);
    expect(Math.abs(before - usedBytes() - freedBy(pruned.evicted))).toBeLessThan(65_536);
    expect((await machine.run('prune', '-f', file, '--settle', '0s')).stdout).toContain('evicted 0 entries, 0;');
  });

  it('go only as far as the limit asks for', async () => {
    const { machine, path, policy } = models();
    copies(path);
    const { stdout } = await machine.run('prune', '-f', policy('{maxBytes: 10496Ki}'), '--settle', '0s', '-o', 'json');
    // 10Mi are shared, and each of the eight has 64Ki: four of these fit.
    expect(standing(path)).toBe('efgh');
    expect(freedBy(cacheIn(stdout).evicted)).toBe(4 * 65_536);
    expect(cacheIn(stdout).stats.totalBytes).toBe(10 * Mi + 4 * 65_536);
  });

  it('of which one is in use leave a limit that cannot be met, and prune says so', async () => {
    const { machine, path, policy } = models();
    copies(path);
    const fd = openSync(join(path, 'h', 'config'), 'r');
    onTestFinished(() => closeSync(fd));
    const { stdout } = await machine.run('prune', '-f', policy('{maxBytes: 8Mi}'), '--settle', '0s');
    expect(stdout).toMatch(/MaxBytes cannot be met: .*10\.1Mi/);
    expect(standing(path)).toBe(letters);
  });

  it('give a filesystem its space back in one run', async () => {
    const { machine, path, policy, usedBytes } = models();
    copies(path);
    const { code } = await machine.run('prune', '-f', policy('{minFree: 60Mi}'), '--settle', '0s');
    expect(code).toBe(0);
    expect(usedBytes()).toBeLessThanOrEqual(4 * Mi);
    expect(standing(path)).toBe('');
  });

  it('stay where the filesystem would get nothing back, because their files have links outside of the cache', async () => {
    const { machine, path, policy } = models();
    mkdirSync(join(path, '../outside'));
    for (const name of ['a', 'b', 'c']) {
      writeFileSync(join(path, name), Buffer.alloc(4 * Mi, 1));
      linkSync(join(path, name), join(path, '../outside', name));
    }
    const { code, stdout } = await machine.run('prune', '-f', policy('{minFree: 60Mi}'), '--settle', '0s');
    expect(code).toBe(3);
    expect(stdout).toMatch(/MinFree cannot be met: /);
    expect(standing(path)).toBe('abc');
  });
});
