import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LinkedFiles, LinkedFilesByEntry } from '../../src/policy/linked-files.ts';
import { RemainingBytes } from '../../src/policy/linked-files.ts';
import { planEviction } from '../../src/policy/plan.ts';
import type { EntryName } from '../../src/policy/snapshot.ts';
import { atOnce } from '../../src/policy/steps.ts';
import { entry, heldBy, hour, planInput, snapshotOf } from './builders.ts';

/** Entries in the order of their last use, each with bytes of its own and links to files; a file has links outside of the cache, too. */
interface Disk {
  readonly ownBytes: readonly number[];
  readonly files: readonly { readonly bytes: number; readonly linksIn: readonly number[]; readonly outside: number }[];
}

const linksOf = ({ linksIn, outside }: Disk['files'][number], left: (row: number) => boolean) => linksIn.reduce((sum, links, row) => sum + (left(row) ? links : 0), outside);

/** As a scan measures it: each entry by its share. */
function measured({ ownBytes, files }: Disk, left: (row: number) => boolean = () => true): number[] {
  return ownBytes.map((own, row) => (left(row) ? own + files.reduce((sum, file) => sum + (file.bytes * (file.linksIn[row] ?? 0)) / Math.max(1, linksOf(file, left)), 0) : 0));
}

/** What the filesystem has of it. */
function onDisk({ ownBytes, files }: Disk, left: (row: number) => boolean): number {
  return ownBytes.reduce((sum, own, row) => sum + (left(row) ? own : 0), 0) + files.reduce((sum, file) => sum + (linksOf(file, left) > 0 ? file.bytes : 0), 0);
}

function linkedOf({ ownBytes, files }: Disk): LinkedFilesByEntry {
  return new Map(ownBytes.map((_, row): [EntryName, LinkedFiles] => {
    const mine = [...files.entries()].filter(([, { linksIn }]) => (linksIn[row] ?? 0) > 0);
    return [`k${row}` as EntryName, {
      inodes: BigUint64Array.from(mine, ([inode]) => BigInt(inode)), linksHere: Uint32Array.from(mine, ([, { linksIn }]) => linksIn[row]!),
      links: Uint32Array.from(mine, ([, file]) => linksOf(file, () => true)), allocatedBytes: Float64Array.from(mine, ([, { bytes }]) => bytes),
    }];
  }));
}

const snapshotOn = (disk: Disk) => ({ ...snapshotOf(measured(disk).map((sizeBytes, row) => entry(`k${row}`, { idleMs: (100 - row) * hour, sizeBytes }))), linked: linkedOf(disk) });

const disks = fc.integer({ min: 1, max: 6 }).chain((count) => fc.record({
  ownBytes: fc.array(fc.nat(50), { minLength: count, maxLength: count }),
  files: fc.array(fc.record({ bytes: fc.nat(1_000), linksIn: fc.array(fc.nat(2), { minLength: count, maxLength: count }), outside: fc.nat(2) }), { maxLength: 4 }),
}));

const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

describe('the bytes that remain of a cache whose entries share files', () => {
  it('are those that a scan measures after the deletion, and what is freed is what the filesystem gets back, in any order', () => {
    fc.assert(fc.property(disks, fc.infiniteStream(fc.nat()), (disk, picks) => {
      const snapshot = snapshotOn(disk);
      const remaining = new RemainingBytes(snapshot.entries, sum(measured(disk)), snapshot.linked);
      const rows = disk.ownBytes.map((_, row) => row);
      const gone = new Set<number>();
      while (rows.length > 0) {
        const row = rows.splice(picks.next().value! % rows.length, 1)[0]!;
        const before = onDisk(disk, (each) => !gone.has(each));
        gone.add(row);
        const left = (each: number) => !gone.has(each);
        expect(Math.abs(remaining.remove(row) - (before - onDisk(disk, left)))).toBeLessThanOrEqual(1);
        expect(Math.abs(remaining.totalBytes - sum(measured(disk, left)))).toBeLessThanOrEqual(1);
        expect(Math.abs(remaining.freedBytes - (onDisk(disk, () => true) - onDisk(disk, left)))).toBeLessThanOrEqual(1);
      }
    }));
  });

  it('are known beforehand of the entries that would be left alone', () => {
    fc.assert(fc.property(disks, fc.nat(63), (disk, mask) => {
      const snapshot = snapshotOn(disk);
      const left = (row: number) => ((mask >> row) & 1) === 1;
      const remaining = new RemainingBytes(snapshot.entries, sum(measured(disk)), snapshot.linked);
      expect(Math.abs(atOnce(remaining.bytesOfAlone(left)) - sum(measured(disk, left)))).toBeLessThanOrEqual(1);
    }));
  });
});

describe('a plan for entries that share files', () => {
  const limits = { minIdleMs: 0 };
  /** Eight copies of 1,000 bytes by links, with 10 bytes of its own each. */
  const copies: Disk = { ownBytes: Array.from({ length: 8 }, () => 10), files: [{ bytes: 1_000, linksIn: Array.from({ length: 8 }, () => 1), outside: 0 }] };

  it('evicts until the limit holds by what really comes free, and says how much that is', () => {
    const plan = planEviction({ ...planInput([], { ...limits, maxBytes: 700 }), snapshot: snapshotOn(copies) });
    expect([plan.before.totalBytes, plan.after.totalBytes, plan.evict.length, plan.freedBytes]).toEqual([1_080, 0, 8, 1_080]);
    expect([...plan.evict].map(({ freedBytes }) => freedBytes)).toEqual([10, 10, 10, 10, 10, 10, 10, 1_010]);
  });

  it('evicts nothing for a limit that the files of an entry in use exceed by themselves, and says so', () => {
    const plan = planEviction({ ...planInput([], { ...limits, maxBytes: 700, holds: heldBy('box', 'k3') }), snapshot: snapshotOn(copies) });
    expect(plan.unreachable).toMatchObject([{ limit: 'MaxBytes', allowed: 700, remaining: 1_010, because: 'HeldAlone' }]);
    expect(plan.evict).toHaveLength(0);
  });

  it('counts what is linked outside of the cache as freed by nothing, though the cache gets smaller by its share', () => {
    const outside: Disk = { ownBytes: [10, 10], files: [{ bytes: 1_000, linksIn: [1, 0], outside: 1 }] };
    const plan = planEviction({ ...planInput([], { ...limits, maxBytes: 100 }), snapshot: snapshotOn(outside) });
    expect([plan.before.totalBytes, plan.after.totalBytes, plan.evict.length, plan.freedBytes]).toEqual([520, 10, 1, 10]);
  });

  it('takes an entry whose files are not listed for one that shares nothing', () => {
    const snapshot = { ...snapshotOn(copies), linked: new Map([['k0' as EntryName, undefined]]) };
    const plan = planEviction({ ...planInput([], { ...limits, maxBytes: 700 }), snapshot });
    expect([plan.evict.length, plan.after.totalBytes]).toEqual([3, 675]);
  });
});
