import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { images, rootfsKeys } from '../fixtures/homes.ts';
import { Machine } from './machine.ts';

let machine: Machine;
let home: string;
let rootfs: string;

beforeEach(() => {
  machine = new Machine();
  home = machine.home();
  rootfs = join(home, 'cache/rootfs');
});

afterEach(() => machine[Symbol.dispose]());

/** On the rootfs store, named directly. */
const entry = (command: string, ...args: string[]) => machine.run('entry', command, ...args, '--home', home, '--store', 'rootfs');
const metadataOf = (key: string) => JSON.parse(readFileSync(join(rootfs, `${key}.meta.json`), 'utf8')) as { last_accessed: number; description: string };

describe('entry list', () => {
  it('lists the entries, least recently used first, with whole keys', async () => {
    const { code, stdout } = await entry('list');
    const lines = stdout.split('\n');
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/^KEY +DESCRIPTION +SIZE +CACHED +USED$/);
    expect(lines.slice(1, 9).map((line) => line.split(/ +/)[0])).toEqual(images.map((image) => rootfsKeys[image]));
    expect(lines[1]).toMatch(/ +docker\.io\/library\/redis:8 +13\.7Ki +6\dm ago +6\dm ago$/);
  });

  it('gives scripts the same', async () => {
    const { entries } = JSON.parse((await entry('list', '-o', 'json')).stdout) as { entries: object[] };
    expect(entries).toHaveLength(8);
    expect(entries[7]).toMatchObject({ key: rootfsKeys['nginx:1.27'], description: 'docker.io/library/nginx:1.27', sizeBytes: 8_071, clockAhead: false });
  });

  it('says how many damaged names it leaves out', async () => {
    using other = new Machine();
    const { stdout, stderr } = await other.run('entry', 'list', '--home', other.home({ damaged: true }), '--store', 'rootfs');
    expect(stdout.trimEnd().split('\n')).toHaveLength(1 + 4);
    expect(stderr).toBe('note: 4 damaged names are not listed; cachepolicy explain tells them\n');
  });
});

describe('entry get', () => {
  it('prints the path, and counts as a use', async () => {
    const key = rootfsKeys['postgres:17'];
    const before = metadataOf(key).last_accessed;
    expect(await entry('get', key)).toEqual({ code: 0, stdout: `${rootfs}/${key}\n`, stderr: '' });
    expect(metadataOf(key).last_accessed).toBeGreaterThan(before + 3000);
  });

  it('ends with status 1 on a miss', async () => {
    const key = '0'.repeat(64);
    expect(await entry('get', key)).toEqual({ code: 1, stdout: '', stderr: `${rootfs} has no entry ${key} (list the keys with: cachepolicy entry list)\n` });
  });
});

describe('entry put', () => {
  it('stores a copy under a key, prints its path, and can be got', async () => {
    const source = join(machine.dir, 'tree');
    mkdirSync(source);
    writeFileSync(join(source, 'file'), 'content');
    const key = 'a'.repeat(64);
    expect(await entry('put', key, source, '--description', 'my tree')).toEqual({ code: 0, stdout: `${rootfs}/${key}\n`, stderr: '' });
    expect(readFileSync(join(rootfs, key, 'file'), 'utf8')).toBe('content');
    expect(metadataOf(key).description).toBe('my tree');
    expect((await entry('get', key)).code).toBe(0);
  });

  it('refuses a key that could be a path, and one that a box uses', async () => {
    const before = machine.listing();
    for (const key of ['../../evil', '..', 'a/b', '']) expect(await entry('put', key, home)).toMatchObject({ code: 2, stdout: '' });
    const inUse = await entry('put', rootfsKeys['redis:8'], machine.dir);
    expect(inUse).toMatchObject({ code: 1, stderr: expect.stringContaining('in use') as string });
    expect(machine.listing()).toEqual(before);
  });

  it('refuses a source that is not there', async () => {
    const { code, stderr } = await entry('put', 'a'.repeat(64), join(machine.dir, 'nowhere'));
    expect(code).toBe(2);
    expect(stderr).toContain('nowhere');
  });
});

describe('entry invalidate', () => {
  const invalidate = (...args: string[]) => entry('invalidate', '--settle', '0s', ...args);

  it('removes an entry for good', async () => {
    const key = rootfsKeys['nginx:1.27'];
    expect(await invalidate(key)).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(readdirSync(rootfs).filter((name) => name.startsWith(key) && !name.endsWith('.lock'))).toEqual([]);
    expect(readdirSync(join(rootfs, '.cachepolicy/trash'))).toEqual([]);
  });

  it('says that there is none, and is done', async () => {
    const absent = '0'.repeat(64);
    expect(await invalidate(absent)).toEqual({ code: 0, stdout: '', stderr: `note: there is no entry ${absent}, so nothing was removed; cachepolicy entry list shows what there is\n` });
  });

  it.each([
    ['description', '"docker.io/library/postgres:*"'],
    ['key', `"${rootfsKeys['postgres:17']}"`],
  ])('refuses one that the policy pins by %s, unless forced', async (by, pattern) => {
    const pinned = new Machine();
    onTestFinished(() => pinned[Symbol.dispose]());
    const own = join(pinned.home(), 'cache/rootfs');
    const key = rootfsKeys['postgres:17'];
    const policy = pinned.policy({ minIdle: `60s, keep: [{${by}: ${pattern}, reason: sale weekend}]` });
    const remove = async (...args: string[]) => await pinned.run('entry', 'invalidate', key, '-f', policy, '--settle', '0s', ...args);
    const refused = await remove();
    expect(refused.code).toBe(1);
    expect(refused.stderr).toBe(`${key} is pinned by ${by} "${pattern.replaceAll('"', '')}": sale weekend (remove the pin from protect.keep of the policy, or pass --force)\n`);
    expect(readdirSync(own)).toContain(key);
    expect(await remove('--force')).toMatchObject({ code: 0, stderr: '' });
    expect(readdirSync(own)).not.toContain(key);
  });

  it('refuses one in use, unless forced', async () => {
    const key = rootfsKeys['redis:8'];
    const refused = await invalidate(key);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toBe(`${key} is in use: box box-1 (stop what uses the entry, or pass --force)\n`);
    expect(readdirSync(rootfs)).toContain(key);
    expect(await invalidate(key, '--force')).toMatchObject({ code: 0 });
    expect(readdirSync(rootfs)).not.toContain(key);
  });
});

describe('the cache of an entry command', () => {
  const list = (...args: string[]) => machine.run('entry', 'list', ...args);

  it('may be the only one of a policy', async () => {
    expect((await list('-f', machine.policy())).stdout.split('\n')).toHaveLength(10);
  });

  it('must be named where there are several', async () => {
    const layers = machine.policy({ store: 'Layers', file: 'layers.yaml', name: 'layers' });
    expect(await list('-f', machine.policy(), '-f', layers)).toEqual({ code: 2, stdout: '', stderr: '--cache: say which of rootfs, layers is meant\n' });
    expect((await list('-f', machine.policy(), '-f', layers, '--cache', 'layers')).stdout).toContain('sha256:');
    expect(await list('-f', machine.policy(), '--cache', 'nope')).toEqual({ code: 2, stdout: '', stderr: '--cache: there is no cache "nope"; there are rootfs\n' });
  });

  it('must be named at all, and in one way', async () => {
    const told = 'entry: name the cache with -f FILE (and --cache NAME), or with --home DIR and --store rootfs or layers\n';
    expect(await list()).toMatchObject({ code: 2, stderr: told });
    expect((await list('-f', machine.policy(), '--home', home)).code).toBe(2);
    expect((await list('--home', home)).code).toBe(2);
    expect((await list('--home', home, '--store', 'models')).code).toBe(2);
  });

  it('lies below an allowed root', async () => {
    expect(await list('--home', '/etc/a3s', '--store', 'rootfs')).toMatchObject({ code: 2, stderr: expect.stringMatching(/^--home: .* allowed root/) as string });
    expect(await list('--home', `${home}/../home`, '--store', 'rootfs')).toMatchObject({ code: 2 });
    const nowhere = await list('--home', join(machine.allowedRoot, 'nowhere'), '--store', 'rootfs');
    expect(nowhere).toMatchObject({ code: 2, stderr: expect.stringContaining('does not exist') as string });
  });
});
