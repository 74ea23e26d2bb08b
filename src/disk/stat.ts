import { constants } from 'node:fs';
import type { Name } from './libc.ts';
import { statx, statxView } from './libc.ts';

export type FileKind = 'File' | 'Directory' | 'Link' | 'Fifo' | 'Socket' | 'BlockDevice' | 'CharacterDevice' | 'Unknown';

/** What one file is; a symbolic link is not followed. Times in ns since the epoch. */
export interface Stat {
  readonly kind: FileKind;
  /** The permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly inode: bigint;
  readonly device: bigint;
  /** The number of the device that a device file stands for. */
  readonly deviceFile: bigint;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly accessedNs: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
  readonly mountId: bigint;
}

/** By the type bits of a mode. */
export const kindsByMode: ReadonlyMap<number, FileKind> = new Map<number, FileKind>([
  [constants.S_IFREG, 'File'],
  [constants.S_IFDIR, 'Directory'],
  [constants.S_IFLNK, 'Link'],
  [constants.S_IFIFO, 'Fifo'],
  [constants.S_IFSOCK, 'Socket'],
  [constants.S_IFBLK, 'BlockDevice'],
  [constants.S_IFCHR, 'CharacterDevice'],
]);

/** @returns the stat, or a negated errno */
export function statAt(dirFd: number, name: Name): Stat | number {
  const result = statx(dirFd, name);
  return result < 0 ? result : decoded(statxView);
}

/** Of the open file or directory itself. @returns the stat, or a negated errno */
export function statOf(fd: number): Stat | number {
  return statAt(fd, '');
}

/** When it was made, in ns; undefined where the filesystem does not say, or nothing has the name. */
export function birthNsAt(dirFd: number, name: Name): bigint | undefined {
  const STATX_BTIME = 0x800;
  if (statx(dirFd, name) < 0 || (statxView.getUint32(0, true) & STATX_BTIME) === 0) return undefined;
  return nanoseconds(statxView, 80);
}

/** The same file or directory, whatever it is called by now. */
export function isSameFile(one: Stat, other: Stat): boolean {
  return one.inode === other.inode && one.device === other.device;
}

/** Offsets: struct statx of linux/stat.h. */
function decoded(view: DataView): Stat {
  const mode = view.getUint16(28, true);
  return {
    kind: kindsByMode.get(mode & constants.S_IFMT) ?? 'Unknown',
    mode: mode & 0o7777,
    nlink: view.getUint32(16, true),
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    inode: view.getBigUint64(32, true),
    sizeBytes: Number(view.getBigUint64(40, true)),
    allocatedBytes: Number(view.getBigUint64(48, true)) * 512,
    accessedNs: nanoseconds(view, 64),
    changedNs: nanoseconds(view, 96),
    modifiedNs: nanoseconds(view, 112),
    deviceFile: deviceNumber(view, 128),
    device: deviceNumber(view, 136),
    mountId: view.getBigUint64(144, true),
  };
}

function nanoseconds(view: DataView, offset: number): bigint {
  return view.getBigInt64(offset, true) * 1_000_000_000n + BigInt(view.getUint32(offset + 8, true));
}

/** As makedev of glibc and musl puts the two halves together. */
function deviceNumber(view: DataView, offset: number): bigint {
  const major = BigInt(view.getUint32(offset, true));
  const minor = BigInt(view.getUint32(offset + 4, true));
  return ((major & 0xfffff000n) << 32n) | ((major & 0xfffn) << 8n) | ((minor & 0xffffff00n) << 12n) | (minor & 0xffn);
}

export function msOf(ns: bigint): number {
  return Number(ns / 1_000_000n);
}
