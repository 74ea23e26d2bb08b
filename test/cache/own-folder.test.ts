import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, existsSync, lchownSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readJournal } from '../../src/cache/journal.ts';
import type { CacheOptions } from '../../src/cache/pass-options.ts';
import { readMemory, writeMemory } from '../../src/cache/state.ts';
import { noTotals } from '../../src/policy/node-report.ts';
import { asRoot, mount, scratchDir, smallDisk } from '../disk/scratch.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const enforce = { mode: 'Enforce', trigger: 'Start' } as const;
/** Two users with no rights but those that everybody has, and their group. */
const attacker = 1_001;
const neighbour = 1_002;
const group = 1_003;

function asUser(uid: number, command: string, { stdio = 'pipe' }: { stdio?: 'pipe' | 'ignore' } = {}): string {
  return execFileSync('setpriv', [`--reuid=${uid}`, `--regid=${uid}`, `--groups=${group}`, '--', 'sh', '-c', command], { encoding: 'utf8', stdio });
}

/** A directory that tenants own together: everybody may make names in it, or a group. @param where an empty directory, this machine's temporary one by default */
function shared(mode: 0o1777 | 0o2775, where?: string): DirectoryOnDisk {
  const disk = new DirectoryOnDisk(where);
  chmodSync(dirname(disk.root), 0o755);
  chmodSync(disk.root, mode);
  chownSync(disk.root, 0, group);
  return disk;
}

/** What the neighbour keeps in it, older than all else. */
function ofNeighbour(disk: DirectoryOnDisk, name: string): void {
  disk.folder(name, { usedSecondsAgo: 5_000 });
  execFileSync('chown', ['-R', `${neighbour}:${neighbour}`, join(disk.root, name)]);
}

/** Nothing outside serves: the parents are the tenants' as well. */
function closeOutside(disk: DirectoryOnDisk): void {
  chownSync(dirname(disk.root), attacker, attacker);
}

const places: [name: string, mode: 0o1777 | 0o2775, outside: boolean][] = [
  ['a sticky directory', 0o1777, true], ['a directory of a group', 0o2775, true],
  ['a sticky directory below one of theirs', 0o1777, false], ['a directory of a group below one of theirs', 0o2775, false],
];

describe.runIf(asRoot)('in a directory of a group', () => {
  test('a neighbour\'s private folder under the name of a hidden tree is put back, not deleted', async () => {
    const disk = shared(0o2775);
    ofNeighbour(disk, 'model');
    const model = join(disk.root, 'model');
    chmodSync(model, 0o700);
    const { ino } = statSync(model);
    asUser(attacker, `cd ${disk.root} && mv model .cachepolicy-${ino.toString(36)}.model`);
    using cache = disk.cache({ maxEntries: 9 });
    expect((await cache.pass(enforce)).errors).toEqual([]);
    expect(statSync(model).ino).toBe(ino);
    expect(readdirSync(model)).not.toEqual([]);
  });

  test('a neighbour\'s folder that takes the place of a hidden tree while another is deleted stays', async () => {
    const disk = shared(0o2775);
    for (const name of ['one', 'two', 'private']) ofNeighbour(disk, name);
    const { root } = disk;
    const { ino } = statSync(join(root, 'private'));
    const hidden = ['one', 'two'].map((name) => {
      const to = `.cachepolicy-${statSync(join(root, name)).ino.toString(36)}.${name}`;
      renameSync(join(root, name), join(root, to));
      // Its deletion has begun.
      chmodSync(join(root, to), 0o1700);
      return to;
    });
    let deleted = '';
    using cache = disk.cache({ maxEntries: 9 }, {
      fault: (step) => {
        const first = hidden.find((name) => step.includes(name));
        if (first === undefined || deleted !== '') return;
        deleted = first;
        const other = hidden.find((name) => name !== first)!;
        asUser(attacker, `cd ${root} && mv ${other} mine && mv private ${other}`);
      },
    });
    await cache.pass(enforce);
    expect(deleted).not.toBe('');
    expect(execFileSync('find', [root, '-inum', String(ino)], { encoding: 'utf8' })).not.toBe('');
    expect(execFileSync('find', [root, '-path', '*/mine/*'], { encoding: 'utf8' })).not.toBe('');
  });

  test('a neighbour\'s folder that takes the place of a tree on its way out is not purged', async () => {
    const disk = shared(0o2775);
    ofNeighbour(disk, 'model');
    ofNeighbour(disk, 'private');
    disk.folder('kept', { usedSecondsAgo: 10 });
    chmodSync(join(disk.root, 'private'), 0o700);
    const inode = statSync(join(disk.root, 'private')).ino;
    const { root } = disk;
    let aside = '';
    const fault = (step: string) => {
      const found = readdirSync(root).find((name) => name.startsWith('.cachepolicy.') && name.endsWith('.model') && lstatSync(join(root, name)).isDirectory());
      if (aside === '' && found !== undefined && step.startsWith(`rename ${root}/${found}`)) {
        aside = found;
        asUser(attacker, `cd ${root} && mv ${aside} mine && mv private ${aside}`);
      } else if (aside !== '' && step.includes('/trash/') && step.endsWith('/d')) asUser(attacker, `cd ${root} && mkdir -p ${aside} model`);
    };
    using cache = disk.cache({ maxEntries: 2 }, { fault, restMs: 0 });
    const pass = await cache.pass(enforce);
    const purge = await cache.purge({ now: true });
    const found = execFileSync('find', [dirname(root), '-inum', String(inode)], { encoding: 'utf8' });
    expect({ found: found === '' ? 'deleted' : 'kept', aside: aside !== '' }).toEqual({ found: 'kept', aside: true });
    expect([...pass.errors, ...purge.errors]).not.toEqual([]);
  });
});

describe.runIf(asRoot).each(places)('in %s', (_, mode, outside) => {
  function make(): DirectoryOnDisk {
    const disk = shared(mode);
    ofNeighbour(disk, 'model');
    disk.folder('kept', { usedSecondsAgo: 10 });
    if (!outside) closeOutside(disk);
    return disk;
  }

  /** Whatever came of it, evicting is either refused with the owner's name or done right. */
  async function enforceOrRefuse(disk: DirectoryOnDisk, options: Partial<CacheOptions> = {}, owner = attacker): Promise<'Evicted' | 'Refused'> {
    using cache = disk.cache({ maxEntries: 1 }, options);
    try {
      const { evicted } = await cache.pass(enforce);
      expect(evicted.map((entry) => entry.key)).toEqual(['model']);
      await cache.purge();
      return 'Evicted';
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_ROOT_UNSAFE', message: expect.stringContaining(`user ${owner}`) });
      return 'Refused';
    }
  }

  test('whoever makes our name first serves nothing of his own through a neighbour\'s entry', async () => {
    const disk = make();
    asUser(attacker, `cd ${disk.root} && mkdir -m 777 .cachepolicy .cachepolicy/trash && touch .cachepolicy/lock`);
    const read: string[] = [];
    const cameOf = await enforceOrRefuse(disk, {
      fault: () => {
        // He puts his own in the place of whatever lies in his trash, at every step.
        asUser(attacker, `cd ${disk.root}/.cachepolicy/trash && for i in * .[!.]*; do mkdir -p "$i/d" && echo evil > "$i/d/config.json"; done; cd ${disk.root} && for i in .cachepolicy.*; do [ -h "$i" ] && ln -sfn .cachepolicy "$i"; done; true`);
        const path = join(disk.root, 'model', 'config.json');
        if (existsSync(path)) read.push(readFileSync(path, 'utf8'));
      },
    });
    expect(read.filter((content) => content !== 'model')).toEqual([]);
    expect(cameOf).toBe(outside ? 'Evicted' : 'Refused');
    expect(statSync(join(disk.root, '.cachepolicy'))).toMatchObject({ uid: attacker });
  });

  test('a neighbour\'s private folder under our name keeps its rights and its content', async () => {
    const disk = make();
    asUser(neighbour, `cd ${disk.root} && mkdir -m 700 private private/trash && echo secret > private/trash/gone-1 && mkdir private/trash/0123456789ab.model && mv private .cachepolicy`);
    expect(await enforceOrRefuse(disk, {}, neighbour)).toBe(outside ? 'Evicted' : 'Refused');
    const theirs = join(disk.root, '.cachepolicy');
    expect([(statSync(theirs).mode & 0o7777).toString(8), readFileSync(join(theirs, 'trash/gone-1'), 'utf8'), readdirSync(join(theirs, 'trash')).length]).toEqual([mode === 0o2775 ? '2700' : '700', 'secret\n', 2]);
  });

  test('a private folder of root under our name keeps its rights and its content', async () => {
    const disk = make();
    const theirs = join(disk.root, '.cachepolicy');
    mkdirSync(join(theirs, 'trash'), { recursive: true, mode: 0o700 });
    writeFileSync(join(theirs, 'trash', 'gone-1'), 'secret');
    writeFileSync(join(theirs, 'id_ed25519'), 'secret');
    await disk.cache({ maxEntries: 1 }).pass(enforce).catch((error: unknown) => expect(error).toMatchObject({ code: 'ERR_ROOT_UNSAFE' }));
    expect([readFileSync(join(theirs, 'trash/gone-1'), 'utf8'), readFileSync(join(theirs, 'id_ed25519'), 'utf8'), (statSync(theirs).mode & 0o777).toString(8)]).toEqual(['secret', 'secret', '700']);
  });

  test('a lock that somebody holds for ever stops no pass', async () => {
    const disk = make();
    await disk.cache({ maxEntries: 9 }).pass(enforce);
    const locks = execFileSync('find', [dirname(disk.root), '-name', 'lock'], { encoding: 'utf8' }).trim().split('\n');
    asUser(attacker, `cd ${disk.root} && mkdir -m 777 .cachepolicy && touch .cachepolicy/lock; true`, { stdio: 'ignore' });
    using holding = locking(attacker, [...locks, join(disk.root, '.cachepolicy', 'lock'), disk.root, dirname(disk.root)]);
    await holding.started;
    expect(await enforceOrRefuse(disk)).toBe('Evicted');
  });

  test('state, journal, index and measures of somebody else are not believed', async () => {
    const disk = make();
    const bigTotals = JSON.stringify({ formatVersion: 1, policy: { uid: 'uid', generation: 99 }, totals: { ...noTotals, evictedEntries: 99 } });
    asUser(attacker, `cd ${disk.root} && mkdir -m 755 .cachepolicy && cd .cachepolicy && echo '${bigTotals}' > state && printf '\\n{"time":"2026-01-01T00:00:00Z","event":"Evicted","key":"x","description":"","sizeBytes":1,"reason":null,"trigger":null}' > journal && printf '{"formatVersion":1}\\n["kept",1,1,1,1,1,1,1,1,1,1,0]\\n' > measures`);
    const place = { ...disk.spec(), allowedRoots: [dirname(disk.root)] };
    expect(readMemory(place)).toBeUndefined();
    expect(readJournal(place)).toEqual({ records: [], strangeLines: 0 });
    const { entries } = await disk.cache().scan();
    expect([...entries].find(({ name }) => name === 'kept')?.lastAccessedAtMs).toBeGreaterThan(1_000_000);
  });

  test('a table of 59 MiB and 400,000 names in the trash of somebody else are not read', async () => {
    const disk = make();
    const theirs = join(disk.root, '.cachepolicy');
    asUser(attacker, `mkdir -m 755 ${theirs} ${theirs}/trash && truncate -s 59M ${theirs}/measures && touch ${theirs}/trash/${'x'.repeat(200)}`);
    const read = opened(theirs);
    await enforceOrRefuse(disk);
    expect(read()).toEqual([]);
  });
});

/** The files below a folder whose access time moves from now on. */
function opened(folder: string): () => string[] {
  const files = ['measures', 'trash'];
  const old = new Date(0);
  for (const file of files) utimesSync(join(folder, file), old, statSync(join(folder, file)).mtime);
  return () => files.filter((file) => statSync(join(folder, file)).atimeMs !== 0);
}

/** Another process that tries to lock files for as long as it may. */
function locking(uid: number, files: readonly string[]): Disposable & { started: Promise<unknown> } {
  const script = `exec 2> /dev/null; n=0; for file in "$@"; do exec {fd}< "$file" && flock -n $fd && n=$((n + 1)); done; echo $n; exec sleep 600`;
  const child: ChildProcess = spawn('setpriv', [`--reuid=${uid}`, `--regid=${uid}`, `--groups=${group}`, '--', 'bash', '-c', script, 'bash', ...files], { stdio: ['ignore', 'pipe', 'inherit'] });
  return { started: once(child.stdout!, 'data'), [Symbol.dispose]: () => void child.kill('SIGKILL') };
}

describe.runIf(asRoot)('an entry on its way out', () => {
  test('is seen whole, until its name goes, by who mounts the directory of the cache alone and has no rights', async () => {
    const disk = shared(0o1777).folder('a').folder('b', { usedSecondsAgo: 10 });
    const view = scratchDir();
    chmodSync(view, 0o755);
    mount('--bind', disk.root, view);
    const seen: [step: string, content: string][] = [];
    let isThere = true;
    using cache = disk.cache({ maxEntries: 1 }, {
      fault: (step) => {
        if (isThere) seen.push([step, asUser(attacker, `wc -c < ${view}/a/shards/weights; cat ${view}/a/config.json`)]);
        isThere &&= step !== `unlink ${disk.root}/a`;
      },
    });
    expect((await cache.pass(enforce)).evicted.map((entry) => entry.key)).toEqual(['a']);
    expect(isThere).toBe(false);
    expect(seen.filter(([, content]) => content !== '10000\na')).toEqual([]);
    expect(seen.filter(([step]) => step.startsWith('exchange')).length).toBeGreaterThan(0);
  });

  test.each(['unlink', 'rename'])('that is swapped for another at the %s after it was looked at takes none with it', async (moment) => {
    const disk = shared(0o2775).folder('a').folder('b', { usedSecondsAgo: 10 });
    ofNeighbour(disk, 'private');
    chmodSync(join(disk.root, 'private'), 0o700);
    let swapped = false;
    using cache = disk.cache({ maxEntries: 2 }, {
      clock: new SteppedClock(),
      fault: (step) => {
        // 'private' is the oldest, and leaves: while it does, 'b' is put in its place.
        const aside = readdirSync(disk.root).find((name) => name.startsWith('.cachepolicy.') && name.endsWith('.private') && lstatSync(join(disk.root, name)).isDirectory());
        if (swapped || aside === undefined || !step.startsWith(`${moment} ${disk.root}`)) return;
        swapped = true;
        asUser(attacker, `cd ${disk.root} && mv ${aside} mine && mv b ${aside}`);
      },
    });
    const { errors } = await cache.pass(enforce);
    expect(swapped).toBe(true);
    expect(errors.map(({ message }) => message)).toEqual(moment === 'rename' ? [expect.stringContaining('was replaced by another')] : []);
    await cache.purge();
    const b = readdirSync(disk.root).find((name) => name.endsWith('.private'));
    expect(readFileSync(join(disk.root, b ?? '', 'config.json'), 'utf8')).toBe('b');
    expect(readFileSync(join(disk.root, 'mine', 'config.json'), 'utf8')).toBe('private');
  });

  test.each([229, 230, 242])('may have a name of %d bytes', async (bytes) => {
    const name = `${'é'.repeat(50)}${'n'.repeat(bytes - 100)}`;
    const disk = new DirectoryOnDisk().folder(name).folder('kept', { usedSecondsAgo: 10 });
    const view = scratchDir();
    let mounted = false;
    using cache = disk.cache({ maxEntries: 1 }, {
      clock: new SteppedClock(() => {
        mounted = true;
        mount('--bind', join(disk.root, readdirSync(disk.root).find((each) => each.startsWith('.cachepolicy.')) ?? ''), view);
      }),
    });
    const { revived, plan } = await cache.pass(enforce);
    expect({ mounted, revived, planned: plan.evict.length, whole: disk.isWhole(name) }).toEqual({ mounted: true, revived: 1, planned: 1, whole: true });
  });
});

describe('our folder of a directory', () => {
  test('is outside, and nothing of ours is in the directory after a pass and a purge', async () => {
    const disk = new DirectoryOnDisk().folder('a').folder('b', { usedSecondsAgo: 10 });
    using cache = disk.cache({ maxEntries: 1 });
    await cache.pass(enforce);
    expect(readdirSync(disk.root)).toEqual(['b']);
    expect(disk.trash).toHaveLength(1);
    await cache.purge();
    await cache.save();
    expect(disk.trash).toEqual([]);
    expect(readdirSync(disk.root)).toEqual(['b']);
    expect([dirname(disk.inOwn()), statSync(disk.inOwn()).mode & 0o777, statSync(dirname(disk.inOwn())).mode & 0o777]).toEqual([join(dirname(disk.root), '.cachepolicy'), 0o700, 0o700]);
  });

  test.runIf(asRoot)('is in the topmost safe directory below an allowed root', async () => {
    const top = scratchDir();
    for (const path of ['theirs', 'theirs/ours', 'theirs/ours/below']) mkdirSync(join(top, path));
    chownSync(join(top, 'theirs'), attacker, attacker);
    const disk = new DirectoryOnDisk(join(top, 'theirs/ours/below')).folder('a');
    using cache = disk.cache({ maxEntries: 1 }, { allowedRoots: [join(top, 'theirs')] });
    await cache.pass(enforce);
    expect(existsSync(join(top, 'theirs/ours/.cachepolicy'))).toBe(true);
    expect([join(top, '.cachepolicy'), join(top, 'theirs/.cachepolicy'), join(top, 'theirs/ours/below/.cachepolicy'), join(disk.root, '.cachepolicy')].filter((path) => existsSync(path))).toEqual([]);
  });

  test('is one for whoever is allowed other roots, whoever comes first', async () => {
    const top = scratchDir();
    mkdirSync(join(top, 'middle'));
    const disk = new DirectoryOnDisk(join(top, 'middle')).folder('a').folder('b').folder('c').folder('d', { usedSecondsAgo: 10 });
    const wide = { allowedRoots: [top] };
    const narrow = { allowedRoots: [join(top, 'middle')] };
    const folders = () => execFileSync('find', [top, '-path', '*/.cachepolicy/*-*', '-prune', '-print'], { encoding: 'utf8' }).trim().split('\n').filter((path) => path !== '');
    // The wide one made it above; the narrow one sees all above, too, and takes it.
    await disk.cache({ maxEntries: 3 }, { ...wide, restMs: 60_000 }).pass(enforce);
    expect(folders().map((path) => dirname(dirname(path)))).toEqual([top]);
    await disk.cache({ maxEntries: 2 }, { ...narrow, restMs: 60_000 }).pass(enforce);
    expect(folders()).toHaveLength(1);
    expect(readdirSync(join(folders()[0]!, 'trash'))).toHaveLength(2);
  });

  test.runIf(asRoot)('made by an agent that sees nothing above its roots takes over the one above, and both end in one', async () => {
    const top = scratchDir();
    mkdirSync(join(top, 'middle'));
    const disk = new DirectoryOnDisk(join(top, 'middle')).folder('a').folder('b').folder('c', { usedSecondsAgo: 10 });
    await disk.cache({ maxEntries: 2 }, { allowedRoots: [top], restMs: 60_000 }).pass(enforce);
    const above = join(top, '.cachepolicy');
    // As a pod sees it, where only the allowed root is mounted.
    renameSync(above, join(top, 'unseen'));
    await disk.cache({ maxEntries: 1 }, { allowedRoots: [join(top, 'middle')], restMs: 60_000 }).pass(enforce);
    renameSync(join(top, 'unseen'), above);
    await disk.cache({ maxEntries: 1 }, { allowedRoots: [top], restMs: 60_000 }).pass(enforce);
    expect(readdirSync(above)).toEqual([]);
    expect(disk.trash).toHaveLength(2);
  });

  test('stays with the directory when that is renamed, and is another for a copy', async () => {
    const disk = new DirectoryOnDisk().folder('a').folder('b', { usedSecondsAgo: 10 });
    await disk.cache({ maxEntries: 1 }).pass(enforce);
    const place = { ...disk.spec(), allowedRoots: [dirname(disk.root)] };
    expect(readJournal(place).records).toHaveLength(1);
    const moved = join(dirname(disk.root), 'moved');
    renameSync(disk.root, moved);
    expect(readJournal({ ...place, root: moved }).records).toHaveLength(1);
    cpSync(moved, disk.root, { recursive: true, preserveTimestamps: true });
    expect(readJournal(place).records).toHaveLength(0);
  });

  test('of another machine is not believed: what it remembered goes, and what rests stays', async () => {
    const disk = new DirectoryOnDisk().folder('a').folder('b', { usedSecondsAgo: 10 });
    const place = { ...disk.spec(), allowedRoots: [dirname(disk.root)] };
    await disk.cache({ maxEntries: 1 }, { restMs: 60_000 }).pass(enforce);
    writeMemory(place, { policy: { uid: 'uid', generation: 7 }, totals: noTotals });
    const identity = JSON.parse(readFileSync(disk.inOwn('identity'), 'utf8')) as { machine: object };
    writeFileSync(disk.inOwn('identity'), JSON.stringify({ ...identity, machine: { boot: 'another', hardware: 'another', installation: 'another' } }));
    expect([readMemory(place), readJournal(place).records]).toEqual([undefined, []]);
    await disk.cache({}, { restMs: 60_000 }).pass(enforce);
    expect([readMemory(place), readJournal(place).records, disk.trash.length]).toEqual([undefined, [], 1]);
  });

  test('after a new start of the same machine is believed', async () => {
    const disk = new DirectoryOnDisk().folder('a');
    const place = { ...disk.spec(), allowedRoots: [dirname(disk.root)] };
    writeMemory(place, { policy: { uid: 'uid', generation: 7 }, totals: noTotals });
    const identity = JSON.parse(readFileSync(disk.inOwn('identity'), 'utf8')) as { machine: object };
    writeFileSync(disk.inOwn('identity'), JSON.stringify({ ...identity, machine: { ...identity.machine, boot: 'before' } }));
    expect(readMemory(place)?.policy.generation).toBe(7);
    await disk.cache({}).pass(enforce);
    expect(readMemory(place)?.policy.generation).toBe(7);
  });

  test.runIf(asRoot)('is in the directory itself where that is a volume of its own', async () => {
    const dir = scratchDir();
    mkdirSync(join(dir, 'models'));
    mount('-t', 'tmpfs', 'tmpfs', join(dir, 'models'));
    const disk = new DirectoryOnDisk(dir).folder('a').folder('b', { usedSecondsAgo: 10 });
    await disk.cache({ maxEntries: 1 }).pass(enforce);
    expect(readdirSync(disk.root).toSorted()).toEqual(['.cachepolicy', 'b']);
    expect(existsSync(join(dir, '.cachepolicy'))).toBe(false);
  });

  test.runIf(asRoot)('is in the directory itself where that is a bind mount of the same filesystem', async () => {
    const dir = scratchDir();
    for (const name of ['models', 'elsewhere/models']) mkdirSync(join(dir, name), { recursive: true });
    mount('--bind', join(dir, 'elsewhere/models'), join(dir, 'models'));
    const disk = new DirectoryOnDisk(dir).folder('a').folder('b', { usedSecondsAgo: 10 });
    const { evicted, errors } = await disk.cache({ maxEntries: 1 }).pass(enforce);
    expect([evicted.length, errors, readdirSync(disk.root).toSorted()]).toEqual([1, [], ['.cachepolicy', 'b']]);
  });

  test.runIf(asRoot).each(['ext4', 'overlay'] as const)('works on %s as well', async (kind) => {
    const dir = kind === 'ext4' ? smallDisk('ext4', { sizeMiB: 32 }) : overlay();
    if (dir === undefined) return;
    mkdirSync(join(dir, 'top'));
    const disk = new DirectoryOnDisk(join(dir, 'top')).folder('a').folder('b', { usedSecondsAgo: 10 });
    using cache = disk.cache({ maxEntries: 1 });
    const { evicted, errors } = await cache.pass(enforce);
    expect([evicted.length, errors, readdirSync(disk.root)]).toEqual([1, [], ['b']]);
    expect(await cache.purge()).toMatchObject({ purgedEntries: 1, errors: [] });
  });
});

function overlay(): string {
  const dir = scratchDir();
  mount('-t', 'tmpfs', 'tmpfs', dir);
  for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(dir, name));
  mount('-t', 'overlay', 'overlay', '-o', `lowerdir=${dir}/lower,upperdir=${dir}/upper,workdir=${dir}/work`, join(dir, 'merged'));
  return join(dir, 'merged');
}

describe('the tools of who owns a cache', () => {
  const tools: [name: string, command: (root: string) => string][] = [
    ['tar', (root) => `tar -C ${dirname(root)} -cf /dev/null ${basename(root)}`],
    ['rm', (root) => `rm -rf ${root}/* && find ${root} -mindepth 1 -delete && [ -z "$(ls -A ${root})" ]`],
    ['cp', (root) => `target=$(mktemp -d) && cp -r ${root} "$target/copy" && rm -rf "$target"`],
    ['find', (root) => `find ${root} -name '*' > /dev/null`],
  ];
  test.runIf(asRoot).each(tools)('%s meets nothing of ours', async (_, command) => {
    const disk = new DirectoryOnDisk().folder('a').folder('b', { usedSecondsAgo: 10 });
    chmodSync(dirname(disk.root), 0o755);
    execFileSync('chown', ['-R', `${neighbour}:${neighbour}`, disk.root]);
    using cache = disk.cache({ maxEntries: 1 });
    await cache.pass(enforce);
    asUser(neighbour, command(disk.root));
    expect((await cache.pass(enforce)).errors).toEqual([]);
  });
});

describe('what an earlier version left in the cache itself', () => {
  /** As that version laid it out: one entry rests, one was stopped half way out, and it remembers. */
  async function old(): Promise<DirectoryOnDisk> {
    const disk = new DirectoryOnDisk().folder('rests').folder('half').folder('kept', { usedSecondsAgo: 10 });
    const own = join(disk.root, '.cachepolicy');
    for (const path of ['', 'trash', 'trash/0123456789ab.rests', 'trash/ba9876543210.half', 'spare', 'spare/0']) {
      mkdirSync(join(own, path));
      chmodSync(join(own, path), 0o711);
    }
    renameSync(join(disk.root, 'rests'), join(own, 'trash/0123456789ab.rests/d'));
    renameSync(join(disk.root, 'half'), join(own, 'trash/ba9876543210.half/d'));
    symlinkSync('.cachepolicy/trash/ba9876543210.half/d', join(disk.root, 'half'));
    for (const name of ['lock', 'reserve']) writeFileSync(join(own, name), '', { mode: 0o600 });
    writeFileSync(join(own, 'state'), JSON.stringify({ formatVersion: 1, policy: { uid: 'uid', generation: 7 }, totals: { ...noTotals, evictedEntries: 3 } }), { mode: 0o600 });
    writeFileSync(join(own, 'measures'), `{"formatVersion":1}\n`, { mode: 0o600 });
    return disk;
  }
  const placeOf = (disk: DirectoryOnDisk) => ({ ...disk.spec(), allowedRoots: [dirname(disk.root)] });

  test('is believed, taken over by the first pass, and gone then', async () => {
    const disk = await old();
    expect(readMemory(placeOf(disk))?.policy.generation).toBe(7);
    using cache = disk.cache({}, { restMs: 60_000 });
    const { errors, after } = await cache.pass(enforce);
    expect(errors).toEqual([]);
    expect([readdirSync(disk.root).toSorted(), disk.isWhole('half'), after.entries.length]).toEqual([['half', 'kept'], true, 2]);
    expect(disk.trash).toEqual(['0123456789ab.rests']);
    expect(readMemory(placeOf(disk))?.totals.evictedEntries).toBe(3);
    expect(await cache.purge({ now: true })).toMatchObject({ purgedEntries: 1, errors: [], nextDueAtMs: null });
  });

  test.runIf(asRoot)('is left alone while somebody holds its lock, which earlier versions let others open, and passes go on', async () => {
    const disk = await old();
    chmodSync(dirname(disk.root), 0o755);
    chmodSync(join(disk.root, '.cachepolicy/lock'), 0o644);
    {
      using holding = locking(attacker, [join(disk.root, '.cachepolicy/lock')]);
      expect(String((await holding.started) as Buffer[])).toBe('1\n');
      using cache = disk.cache({ maxEntries: 0 });
      expect((await cache.pass(enforce)).evicted.map((entry) => entry.key)).toEqual(['kept']);
    }
    using cache = disk.cache({});
    await cache.pass(enforce);
    expect(readdirSync(disk.root)).toEqual(['half']);
  });

  test.runIf(asRoot)('is not believed where it belongs to another user', async () => {
    const disk = await old();
    for (const name of ['', 'state', 'trash']) lchownSync(join(disk.root, '.cachepolicy', name), attacker, attacker);
    expect(readMemory(placeOf(disk))).toBeUndefined();
    using cache = disk.cache({});
    await cache.pass(enforce);
    await cache.purge({ now: true });
    expect(readdirSync(join(disk.root, '.cachepolicy/trash'))).toHaveLength(2);
  });

  test('of a store stays where it is, and others can look into it no more', async () => {
    const store = new StoreOnDisk().entry(key('a')).entry(key('b'));
    mkdirSync(join(store.root, '.cachepolicy'));
    chmodSync(join(store.root, '.cachepolicy'), 0o711);
    await store.cache({ maxEntries: 1 }, { restMs: 60_000 }).pass(enforce);
    expect([store.trash.length, statSync(join(store.root, '.cachepolicy')).mode & 0o777]).toEqual([1, 0o700]);
  });
});

