import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tryLock, waitForLock } from '../../src/disk/lock.ts';
import { pin, scratchDir } from './scratch.ts';

/** Another process that holds flock(2) on a file until its input ends. */
async function holder(path: string) {
  const child = spawn('flock', [path, 'sh', '-c', 'echo held; cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill());
  await once(child.stdout, 'data');
  return async () => {
    child.stdin.end();
    await once(child, 'exit');
  };
}

test('a lock excludes another holder in the same process until its scope ends', () => {
  const dir = pin(scratchDir());
  {
    using held = tryLock(dir, 'lock');
    expect(held).toBeDefined();
    expect(tryLock(dir, 'lock')).toBeUndefined();
  }
  using again = tryLock(dir, 'lock');
  expect(again).toBeDefined();
});

test('a lock that another process holds is busy, which is no error', async () => {
  const path = scratchDir();
  writeFileSync(join(path, 'lock'), '');
  const release = await holder(join(path, 'lock'));
  expect(tryLock(pin(path), 'lock')).toBeUndefined();
  await release();
  using lock = tryLock(pin(path), 'lock');
  expect(lock).toBeDefined();
});

test('waiting takes the lock as soon as it is free', async () => {
  const path = scratchDir();
  writeFileSync(join(path, 'lock'), '');
  const release = await holder(join(path, 'lock'));
  const waiting = waitForLock(pin(path), 'lock', { timeoutMs: 10_000 });
  await release();
  using lock = await waiting;
  expect(lock).toBeDefined();
});

test('waiting gives up with the path, and ends when it is called off', async () => {
  const dir = pin(scratchDir());
  using held = tryLock(dir, 'lock');
  expect(held).toBeDefined();
  await expect(waitForLock(dir, 'lock', { timeoutMs: 20 })).rejects.toMatchObject({ code: 'ERR_LOCK_BUSY', message: expect.stringContaining(`${dir.path}/lock`) });
  await expect(waitForLock(dir, 'lock', { timeoutMs: 60_000, signal: AbortSignal.timeout(5) })).rejects.toThrow(/aborted/);
});

test('a lock file that is replaced between open and lock excludes nobody, and is not taken for the lock', () => {
  const path = scratchDir();
  writeFileSync(join(path, 'lock'), '');
  let replaced = false;
  const dir = pin(path);
  const stat = dir.statOf.bind(dir);
  // The moment after flock: what lies under the name is looked at.
  dir.statOf = (name) => {
    if (!replaced) {
      writeFileSync(join(path, 'new'), '');
      renameSync(join(path, 'new'), join(path, 'lock'));
      replaced = true;
    }
    return stat(name);
  };
  using lock = tryLock(dir, 'lock');
  expect(lock).toBeDefined();
  expect(tryLock(pin(path), 'lock')).toBeUndefined();
});

test('a symbolic link is no lock', () => {
  const path = scratchDir();
  writeFileSync(join(path, 'elsewhere'), '');
  symlinkSync('elsewhere', join(path, 'lock'));
  expect(() => tryLock(pin(path), 'lock')).toThrow(expect.objectContaining({ code: 'ERR_DISK_IO' }));
});
