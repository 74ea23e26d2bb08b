import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, existsSync, fstatSync, linkSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { deleteTree } from '../../src/disk/delete-tree.ts';
import { diskError, errno } from '../../src/disk/disk-error.ts';
import { Slices } from '../../src/disk/slices.ts';
import { unpackHome } from '../fixtures/homes.ts';
import { asRoot, makeDeep, mount, pin, scratchDir } from './scratch.ts';

/** As a purge says it of nearly all trees: then files are removed without a look at each. */
const small = { totalBytes: 0 };

/** `<scratch>/box/tree` to delete, and `<scratch>/canary` that must never change. */
function layout() {
  const base = scratchDir();
  const box = join(base, 'box');
  const tree = join(box, 'tree');
  const canary = join(base, 'canary');
  mkdirSync(tree, { recursive: true });
  mkdirSync(canary);
  writeFileSync(join(canary, 'whole'), 'canary');
  return { base, box, tree, canary };
}

test('a home of the runtime goes with its links, its mode-000 files and its odd names', async () => {
  const { box, base } = layout();
  unpackHome(box);
  const deletion = await deleteTree(pin(box), 'home');
  expect(deletion).toMatchObject({ failed: 0, firstError: undefined });
  expect(readdirSync(box)).toEqual(['tree']);
  expect(readdirSync(base).toSorted()).toEqual(['box', 'canary']);
});

test('links are removed, never what they point to', async () => {
  const { box, tree, canary } = layout();
  symlinkSync(canary, join(tree, 'absolute'));
  symlinkSync('../../canary', join(tree, 'relative'));
  symlinkSync(join(canary, 'whole'), join(tree, 'file'));
  linkSync(join(canary, 'whole'), join(tree, 'hard'));
  await deleteTree(pin(box), 'tree', small);
  expect(existsSync(tree)).toBe(false);
  expect(readFileSync(join(canary, 'whole'), 'utf8')).toBe('canary');
});

test('what comes free is counted where that is asked for: nothing of a file that has another link', async () => {
  const { base, box, tree } = layout();
  mkdirSync(join(tree, 'sub'));
  for (const name of ['own', 'twice', 'shared']) writeFileSync(join(tree, 'sub', name), Buffer.alloc(40_960, 1));
  linkSync(join(tree, 'sub', 'twice'), join(tree, 'twice'));
  linkSync(join(tree, 'sub', 'shared'), join(base, 'shared'));
  const folders = (lstatSync(tree).blocks + lstatSync(join(tree, 'sub')).blocks) * 512;
  const { freedBytes } = await deleteTree(pin(box), 'tree', { totalBytes: 0, countsFreed: true });
  expect(freedBytes).toBe(2 * 40_960 + folders);
  expect(lstatSync(join(base, 'shared')).nlink).toBe(1);
  expect((await deleteTree(pin(base), 'canary')).freedBytes).toBeUndefined();
});

test('a link in the place of the tree itself is removed, never followed', async () => {
  const { box, canary } = layout();
  symlinkSync(canary, join(box, 'link'));
  await deleteTree(pin(box), 'link');
  expect(readdirSync(box)).toEqual(['tree']);
  expect(readdirSync(canary)).toEqual(['whole']);
});

test('what is absent is gone already', async () => {
  expect(await deleteTree(pin(layout().box), 'absent')).toMatchObject({ removed: 0, failed: 0 });
});

test('names of any bytes, FIFOs and sockets go', async () => {
  const { box, tree } = layout();
  for (const name of ['-rf', '__proto__', 'new\nline', 'é', 'x'.repeat(255)]) writeFileSync(join(tree, name), '');
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0xfe])]), '');
  mkdirSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xc0, 0x80])]));
  execFileSync('mkfifo', [join(tree, 'fifo')]);
  const server = createServer().listen(join(tree, 'socket'));
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  expect(await deleteTree(pin(box), 'tree', small)).toMatchObject({ failed: 0 });
  expect(existsSync(tree)).toBe(false);
});

test('each file goes in one step, whatever its name', async () => {
  const { box, tree } = layout();
  const names = ['a', '.b', '..c', '...', 'seven77', 'eight888', 'é', 'x'.repeat(255)];
  for (const name of names) writeFileSync(join(tree, name), '');
  const steps: string[] = [];
  const root = pin(box, (step) => void steps.push(step));
  expect(await deleteTree(root, 'tree', small)).toMatchObject({ removed: names.length + 1, failed: 0 });
  expect(steps.toSorted()).toEqual([...names.map((name) => `unlink ${tree}/${name}`), `rmdir ${tree}`].toSorted());
});

test('what comes into a tree while it goes, goes with it', async () => {
  const { box, tree } = layout();
  writeFileSync(join(tree, 'first'), '');
  let late = 2;
  const root = pin(box, (step) => {
    if (step === `rmdir ${tree}` && late > 0) writeFileSync(join(tree, `late-${(late -= 1)}`), '');
  });
  expect(await deleteTree(root, 'tree', small)).toMatchObject({ removed: 4, failed: 0 });
  expect([late, existsSync(tree)]).toEqual([0, false]);
});

test('a tree deeper than any path can say goes without a descriptor for each level', async () => {
  const { box } = layout();
  // 1,500 levels of 8 bytes: beyond PATH_MAX.
  makeDeep(join(box, 'tree'), { levels: 1500, fileInEach: true });
  let most = 0;
  const root = pin(box, () => {
    most = Math.max(most, readdirSync('/proc/self/fd').length);
  });
  const before = readdirSync('/proc/self/fd').length;
  expect(await deleteTree(root, 'tree', small)).toMatchObject({ removed: 3001, failed: 0 });
  expect(readdirSync(box)).toEqual([]);
  expect(most - before).toBeLessThan(80);
  expect(readdirSync('/proc/self/fd').length).toBe(before);
});

test('parts that a crashed walk left at the top are in nobody\'s way', async () => {
  const { box, tree } = layout();
  mkdirSync(join(box, 'deep-0'));
  makeDeep(tree, { levels: 100 });
  expect(await deleteTree(pin(box), 'tree')).toMatchObject({ failed: 0 });
  expect(readdirSync(box)).toEqual(['deep-0']);
});

/** The path of the folder at a level, `tree` itself being the first; made with all above it. */
function folderAt(tree: string, level: number): string {
  const path = join(tree, ...Array.from({ length: level - 1 }, () => 'l'));
  mkdirSync(path, { recursive: true });
  return path;
}

test('a folder that is renamed below the 64th level just before it is moved is no failure of the walk', async () => {
  const { box, tree } = layout();
  const deep = folderAt(tree, 64);
  mkdirSync(join(deep, 'before'));
  const root = pin(box, (step) => {
    if (step.startsWith('rename ') && existsSync(join(deep, 'before'))) renameSync(join(deep, 'before'), join(deep, 'after'));
  });
  expect(await deleteTree(root, 'tree', small)).toMatchObject({ failed: 1, firstError: { message: expect.stringContaining('ENOTEMPTY') } });
  expect(await deleteTree(pin(box), 'tree', small)).toMatchObject({ failed: 0 });
  expect(readdirSync(box)).toEqual([]);
});

test('a tree whose owner renames in it at every level goes in the end, and no walk of it throws', async () => {
  const { box, tree } = layout();
  for (const level of [3, 63, 64, 65, 66, 130]) for (let i = 0; i < 50; i += 1) mkdirSync(join(folderAt(tree, level), `d${i}`));
  // Holds the folders open, so that it renames in them wherever they are moved.
  const renamer = spawn('python3', ['-uc', `
import os, sys
fds, path = [], sys.argv[1]
for level in range(1, 131):
    if level in (3, 63, 64, 65, 66, 130): fds.append(os.open(path, os.O_RDONLY))
    path += '/l'
print('ready')
turn = 0
while True:
    turn += 1
    for fd in fds:
        for i in range(50):
            old = 'd%d' % i if turn == 1 else 'd%d-%d' % (i, turn - 1)
            try: os.rename(old, 'd%d-%d' % (i, turn), src_dir_fd=fd, dst_dir_fd=fd)
            except OSError: pass
`, tree], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void renamer.kill('SIGKILL'));
  await once(renamer.stdout, 'data');
  const root = pin(box);
  for (let round = 0; round < 100 && readdirSync(box).length > 0; round += 1) for (const name of readdirSync(box)) await deleteTree(root, name, small);
  expect(readdirSync(box)).toEqual([]);
});

test('a directory that is filled as fast as it is emptied fails alone, after a bounded number of reads', async () => {
  const { box, tree } = layout();
  writeFileSync(join(tree, 'first'), '');
  let made = 0;
  const root = pin(box, (step) => {
    if (step === `rmdir ${tree}`) writeFileSync(join(tree, `late-${(made += 1)}`), '');
  });
  expect(await deleteTree(root, 'tree', small)).toMatchObject({ failed: 1, firstError: { message: expect.stringContaining('ENOTEMPTY') } });
  expect(made).toBe(1_000);
});

test('20,000 folders at the 65th level go, also after a walk that was killed among them', async () => {
  const { box, tree } = layout();
  const deep = folderAt(tree, 64);
  for (let i = 0; i < 20_000; i += 1) mkdirSync(join(deep, `d${i}`));
  const modules = join(import.meta.dirname, '../../src/disk');
  const script = `
    const { openRoot } = await import(${JSON.stringify(join(modules, 'pinned-root.ts'))});
    const { deleteTree } = await import(${JSON.stringify(join(modules, 'delete-tree.ts'))});
    let moved = 0;
    const fault = (step) => { if (step.startsWith('rename ') && (moved += 1) === 12000) process.kill(process.pid, 'SIGKILL'); };
    await deleteTree(openRoot(${JSON.stringify(box)}, { allowedRoots: [${JSON.stringify(dirname(box))}], fault }), 'tree');`;
  const killed = spawnSync(process.execPath, ['--input-type=module', '-e', script]);
  expect(killed.signal).toBe('SIGKILL');
  expect(readdirSync(box)).toHaveLength(12_000);
  const root = pin(box);
  for (const name of ['tree', ...readdirSync(box)]) expect(await deleteTree(root, name)).toMatchObject({ failed: 0 });
  expect(readdirSync(box)).toEqual([]);
}, 60_000);

test('a walk that is called off stops, and can be taken up again', async () => {
  const { box, tree } = layout();
  for (let i = 0; i < 3000; i += 1) writeFileSync(join(tree, `f${i}`), '');
  const abort = new AbortController();
  let removed = 0;
  const root = pin(box, () => {
    if ((removed += 1) === 500) abort.abort();
  });
  await expect(deleteTree(root, 'tree', { slices: new Slices(abort.signal) })).rejects.toThrow();
  const left = readdirSync(tree).length;
  expect(left).toBeGreaterThan(0);
  expect(await deleteTree(pin(box), 'tree')).toMatchObject({ removed: left + 1, failed: 0 });
});

test('the event loop turns while a large tree goes', async () => {
  const { box, tree } = layout();
  for (let i = 0; i < 5000; i += 1) writeFileSync(join(tree, `f${i}`), '');
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 1);
  onTestFinished(() => clearInterval(timer));
  await deleteTree(pin(box), 'tree');
  expect(turns).toBeGreaterThan(1);
});

describe('a large file', () => {
  /** 600 MiB of allocated blocks, made in no time; or undefined where the filesystem cannot. */
  function largeFile(path: string): boolean {
    try {
      execFileSync('fallocate', ['-l', '600M', path], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  }

  /** How often a file was truncated on its way out. */
  async function truncations(box: string, totalBytes?: number): Promise<number> {
    let count = 0;
    const root = pin(box, (step) => {
      if (step.startsWith('truncate ')) count += 1;
    });
    expect(await deleteTree(root, 'tree', { totalBytes })).toMatchObject({ failed: 0 });
    return count;
  }

  test('is given back in steps', async ({ skip }) => {
    const { box, tree } = layout();
    skip(!largeFile(join(tree, 'large')), 'the filesystem has no fallocate');
    expect(await truncations(box)).toBe(2);
  });

  test('that cannot be truncated, as on a full btrfs, goes by unlink, which is no failure', async ({ skip }) => {
    const { box, tree } = layout();
    skip(!largeFile(join(tree, 'large')), 'the filesystem has no fallocate');
    const root = pin(box, (step) => {
      if (step.startsWith('truncate ')) throw diskError(step, -errno.ENOSPC);
    });
    expect(await deleteTree(root, 'tree')).toMatchObject({ failed: 0, firstError: undefined });
    expect(existsSync(tree)).toBe(false);
  });

  test('keeps its content where a hard link outside shares it', async ({ skip }) => {
    const { box, tree, canary } = layout();
    skip(!largeFile(join(tree, 'large')), 'the filesystem has no fallocate');
    linkSync(join(tree, 'large'), join(canary, 'large'));
    expect(await truncations(box)).toBe(0);
    expect(statSync(join(canary, 'large')).size).toBe(600 * 2 ** 20);
  });

  test('keeps its content for a process that has it open', async ({ skip }) => {
    const { box, tree } = layout();
    skip(!largeFile(join(tree, 'large')), 'the filesystem has no fallocate');
    const fd = openSync(join(tree, 'large'), 'r');
    onTestFinished(() => closeSync(fd));
    expect(await truncations(box)).toBe(0);
    expect(fstatSync(fd)).toMatchObject({ nlink: 0, size: 600 * 2 ** 20 });
  });

  test('is not looked for where the whole tree is known to be small', async ({ skip }) => {
    const { box, tree } = layout();
    skip(!largeFile(join(tree, 'large')), 'the filesystem has no fallocate');
    expect(await truncations(box, 1000)).toBe(0);
  });
});

test('a directory swapped for a symbolic link during the walk never leads outside', async () => {
  const { box, canary } = layout();
  for (let i = 0; i < 40; i += 1) writeFileSync(join(canary, `c${i}`), 'canary');
  // Swaps box/round/inner between a directory and a link to the canary, as fast as it goes.
  const swapper = spawn('python3', ['-uc', `
import os, sys, ctypes
libc = ctypes.CDLL(None)
link, inner = [path.encode() for path in sys.argv[1:]]
print('ready')
while True:
    libc.renameat2(-100, link, -100, inner, 2)
`, join(box, 'link'), join(box, 'round/inner')], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void swapper.kill('SIGKILL'));
  await once(swapper.stdout, 'data');
  const root = pin(box);
  let met = 0;
  for (let round = 0; round < 400; round += 1) {
    for (const name of ['link', 'round', 'prepared']) while (existsSync(join(box, name))) await deleteTree(root, name);
    mkdirSync(join(box, 'prepared/inner/a'), { recursive: true });
    for (let i = 0; i < 5; i += 1) writeFileSync(join(box, 'prepared/inner', `c${i}`), '');
    symlinkSync(canary, join(box, 'link'));
    renameSync(join(box, 'prepared'), join(box, 'round'));
    await deleteTree(root, 'round', small);
    if (!lstatSync(join(box, 'link')).isSymbolicLink()) met += 1;
  }
  // Both ways round were met, or this race was none.
  expect(met).toBeGreaterThan(10);
  expect(met).toBeLessThan(400);
  expect(readdirSync(canary)).toHaveLength(41);
});

describe.runIf(asRoot)('as root', () => {
  test('a mount inside is not crossed: it stays, with what is on it, and the rest goes', async () => {
    const { box, tree, canary } = layout();
    mkdirSync(join(tree, 'a', 'mnt'), { recursive: true });
    writeFileSync(join(tree, 'a', 'file'), '');
    writeFileSync(join(tree, 'file'), '');
    mount('--bind', canary, join(tree, 'a', 'mnt'));
    const deletion = await deleteTree(pin(box), 'tree', small);
    expect(deletion.failed).toBe(1);
    expect(deletion.firstError).toMatchObject({ code: 'ERR_DISK_IO', message: `cannot open ${tree}/a/mnt: something is mounted there (EXDEV)` });
    expect(readdirSync(canary)).toEqual(['whole']);
    expect(readdirSync(tree)).toEqual(['a']);
    expect(readdirSync(join(tree, 'a'))).toEqual(['mnt']);
  });

  test('an immutable file stays, with the reason, and the rest goes', async ({ skip }) => {
    const { box, tree } = layout();
    mkdirSync(join(tree, 'sub'));
    writeFileSync(join(tree, 'sub', 'fixed'), '');
    writeFileSync(join(tree, 'sub', 'free'), '');
    try {
      execFileSync('chattr', ['+i', join(tree, 'sub', 'fixed')], { stdio: 'ignore' });
    } catch {
      return skip('the filesystem has no immutable files');
    }
    onTestFinished(() => void execFileSync('chattr', ['-i', join(tree, 'sub', 'fixed')]));
    expect(await deleteTree(pin(box), 'tree', small)).toMatchObject({ failed: 1, firstError: { message: `cannot remove ${tree}/sub/fixed: not permitted; it may be immutable (EPERM)` } });
    expect(readdirSync(join(tree, 'sub'))).toEqual(['fixed']);
  });

  test('without the rights of root a tree of one\'s own goes, whatever its modes', () => {
    const { base, box, tree } = layout();
    mkdirSync(join(tree, 'closed', 'inner'), { recursive: true });
    writeFileSync(join(tree, 'closed', 'inner', 'file'), '');
    execFileSync('chown', ['-R', '65534:65534', base]);
    for (const dir of [join(tree, 'closed', 'inner'), join(tree, 'closed'), tree]) chmodSync(dir, 0o000);
    const modules = join(import.meta.dirname, '../../src/disk');
    const script = `
      process.setgid(65534); process.setuid(65534);
      const { openRoot } = await import(${JSON.stringify(join(modules, 'pinned-root.ts'))});
      const { deleteTree } = await import(${JSON.stringify(join(modules, 'delete-tree.ts'))});
      const { failed } = await deleteTree(openRoot(${JSON.stringify(box)}, { allowedRoots: [${JSON.stringify(base)}] }), 'tree');
      console.log(failed);`;
    expect(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).trim()).toBe('0');
    expect(existsSync(tree)).toBe(false);
  });
});

test('thousands of small trees share their slices: none begins its time anew', async () => {
  const { box, tree } = layout();
  let yields = 0;
  class Over extends Slices {
    override get over(): boolean {
      return true;
    }

    override async yield(): Promise<void> {
      yields += 1;
    }
  }
  const slices = new Over();
  mkdirSync(join(box, 'other'));
  for (const each of [tree, join(box, 'other')]) for (let i = 0; i < 4; i += 1) writeFileSync(join(each, `f${i}`), '');
  const root = pin(box);
  for (const name of ['tree', 'other']) await deleteTree(root, name, { slices });
  // The clock is looked at after every eighth file.
  expect([yields, readdirSync(box)]).toEqual([1, []]);
});
