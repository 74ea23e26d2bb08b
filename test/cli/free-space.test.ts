import { closeSync, openSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Cache } from '../../src/cache/pass.ts';
import { OperatorError } from '../../src/errors.ts';
import { largeEntry, Mi } from '../cache/full-disk.ts';
import { key, StoreOnDisk } from '../cache/store.ts';
import { asRoot, mount } from '../disk/scratch.ts';
import { Machine } from './machine.ts';

const letters = 'abcdefgh';

/** A machine whose caches lie on a filesystem of their own: eight entries of 1 MiB on 12 MiB, the first letter least recently used. */
function aMachine(options = 'size=12m'): { machine: Machine; store: StoreOnDisk; availableBytes: () => number } {
  const machine = Machine.forTest();
  mount('-t', 'tmpfs', '-o', options, 'tmpfs', machine.allowedRoot);
  const store = new StoreOnDisk(join(machine.allowedRoot, 'home'));
  for (const letter of letters) largeEntry(store, key(letter), { usedSecondsAgo: 10_000 - 100 * letters.indexOf(letter) });
  const availableBytes = () => {
    const { bavail, bsize } = statfsSync(machine.allowedRoot);
    return bavail * bsize;
  };
  return { machine, store, availableBytes };
}

const lettersIn = (store: StoreOnDisk) => store.names.filter((name) => name.length === 64).map((name) => name[0]).join('');

describe.runIf(asRoot)('on a disk that is too full', () => {
  it('plan shows how full it is, with a bar, and what would go', async () => {
    const { machine, store } = aMachine();
    const { stdout } = await machine.run('plan', '-f', machine.policy({ limits: '{minFree: 50%, minFreeInodes: 1%}' }));
    expect(stdout).toMatch(/ {2}free {6}3\.\d+Mi of 6Mi wanted +█{20} +1[34]\d%\n {2}inodes {4}\d+ of \d+ wanted +[█▏▎▍▌▋▊▉]+ +\d+%\n {2}would evict 3 entries, 3Mi; held: 0 in use, 0 kept, 0 recent\n/);
    expect(lettersIn(store)).toBe(letters);
  });

  it('explain gives the reason, and stats the usage', async () => {
    const { machine } = aMachine();
    const policy = machine.policy({ limits: '{minFree: 50%}' });
    const explained = await machine.run('explain', '-f', policy);
    expect(explained.stdout).toMatch(/evict +MinFree: 8th of 8 by last use, 50% to be free, 3\.\d+Mi are\n/);
    const stats = await machine.run('stats', '-f', policy, '-o', 'json');
    expect(JSON.parse(stats.stdout).caches[0]).toMatchObject({ usage: expect.stringMatching(/^1[34]\d%$/), filesystem: { capacityBytes: 12 * Mi, inodes: expect.any(Number), inodesFree: expect.any(Number) } });
  });

  it('prune frees it, by the entries used least recently, and says so', async () => {
    const { machine, store, availableBytes } = aMachine('size=13m');
    const { code, stdout } = await machine.run('prune', '-f', machine.policy({ limits: '{minFree: 6Mi, maxEntries: 7}' }), '--settle', '0s', '-o', 'json');
    expect(code).toBe(0);
    expect(availableBytes()).toBeGreaterThanOrEqual(6 * Mi);
    const [cache] = JSON.parse(stdout).caches;
    expect(cache.evicted.map(({ reason }: { reason: string }) => reason)).toEqual(['MaxEntries', 'MinFree', 'MinFree']);
    expect(cache).toMatchObject({ stats: { entryCount: 5 }, purged: { entries: 3, bytes: 3 * Mi } });
    expect(lettersIn(store)).toBe('defgh');
  });

  it('prune --dry-run frees nothing', async () => {
    const { machine, store } = aMachine();
    const { stdout } = await machine.run('prune', '-f', machine.policy({ limits: '{minFree: 50%}' }), '--dry-run', '-o', 'json');
    expect(JSON.parse(stdout).caches[0].wouldEvict).toHaveLength(3);
    expect(lettersIn(store)).toBe(letters);
  });

  it('prune says what it cannot free, and ends', async () => {
    const { machine, store } = aMachine();
    const open = [...letters].map((letter) => openSync(join(store.root, key(letter), 'files/0'), 'r'));
    onTestFinished(() => open.forEach(closeSync));
    const { code, stdout } = await machine.run('prune', '-f', machine.policy({ limits: '{minFree: 50%}' }), '--settle', '0s');
    expect(code).toBe(3);
    expect(stdout).toMatch(/ {2}MinFree cannot be met: [23](\.\d)?Mi of 6Mi wanted can be free\n/);
  });

  it('prune tells what it evicted, and one line, where the disk cannot be asked any more', async () => {
    const { machine } = aMachine();
    const { filesystem } = Cache.prototype;
    let asked = 0;
    const asking = vi.spyOn(Cache.prototype, 'filesystem').mockImplementation(function (this: Cache) {
      asked += 1;
      if (asked === 1) return filesystem.call(this);
      throw new OperatorError('ERR_ROOT_UNREADABLE', 'look at the filesystem of "/x": EIO');
    });
    onTestFinished(() => asking.mockRestore());
    const { code, stdout } = await machine.run('prune', '-f', machine.policy({ limits: '{minFree: 1Mi, maxEntries: 7}' }), '--settle', '0s', '--rest', '0s');
    expect(code).toBe(1);
    expect(stdout).toContain('\n  failed: look at the filesystem of "/x": EIO\n');
    expect(stdout).toContain('  evicted 1 entry, 1Mi;');
  });

  it.each(['plan', 'prune --settle 0s'])('%s evicts nothing where more is wanted than the disk can have free, and says what to do', async (command) => {
    const { machine, store } = aMachine();
    const { code, stdout } = await machine.run(...command.split(' '), '-f', machine.policy({ limits: '{minFree: 13Mi, minFreeInodes: "999999999"}' }));
    expect(code).toBe(command.startsWith('agent') ? 0 : 3);
    const [bytes, inodes] = ['minFree wants 13Mi to be free where at most 12Mi can be', 'minFreeInodes wants 999999999 to be free where at most \\d+ can be'];
    for (const words of [bytes, inodes]) expect(stdout).toMatch(new RegExp(`${words}: nothing is evicted for it; lower it`));
    expect(lettersIn(store)).toBe(letters);
  });
});
