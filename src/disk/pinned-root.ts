import type { BigIntStatsFs } from 'node:fs';
import { lstatSync, statfsSync } from 'node:fs';
import { isStrictlyBelow } from '../api/paths.ts';
import type { ErrorCode } from '../errors.ts';
import { errnoOf, OperatorError } from '../errors.ts';
import type { Filesystem } from '../policy/filesystem.ts';
import type { Hooks } from './dir.ts';
import { Dir } from './dir.ts';
import { asDiskError, diskError, errnoName, shown } from './disk-error.ts';
import { AT_FDCWD, openat2, openDirFlags, resolve } from './libc.ts';
import { disguisedMount, readMounts } from './mounts.ts';

/** What stays the same as long as a path leads to the same directory of the same mount. */
export interface RootIdentity {
  readonly device: bigint;
  readonly inode: bigint;
  readonly mountId: bigint;
}

export interface OpenRootOptions extends Hooks {
  /** The path must lie strictly below one of these, by whole path components. */
  readonly allowedRoots: readonly string[];
}

/**
 * Opens a directory that the policy names: walked from an allowed root, through no symbolic link, on a local filesystem.
 * Whoever has it acts on this very directory; what the path leads to later is seen by opening again and comparing `identityOf`.
 *
 * Not safe against somebody who may mount filesystems on the machine.
 * @throws ERR_PATH_NOT_ALLOWED, ERR_ROOT_MISSING, ERR_ROOT_SYMLINK, ERR_ROOT_NOT_DIRECTORY, ERR_ROOT_UNREADABLE, ERR_ROOT_UNSUPPORTED
 */
export function openRoot(path: string, { allowedRoots, ...hooks }: OpenRootOptions): Dir {
  const allowedRoot = allowedRoots.find((root) => isStrictlyBelow(path, root));
  if (allowedRoot === undefined || !isPlainPath(path)) {
    throw new OperatorError('ERR_PATH_NOT_ALLOWED', `${shown(path)} does not lie strictly below an allowed root (${allowedRoots.map(shown).join(', ')})`);
  }
  const top = openat2(AT_FDCWD, allowedRoot, { flags: openDirFlags, resolve: resolve.noLinks });
  if (top < 0) throw rootError(path, top);
  using allowed = new Dir(top, allowedRoot, hooks);
  const fd = openat2(allowed.fd, path.slice(allowedRoot.length + 1), { flags: openDirFlags, resolve: resolve.beneath });
  if (fd < 0) throw rootError(path, fd);
  using scope = new DisposableStack();
  const root = scope.use(new Dir(fd, path, hooks));
  refuseUnfit(root);
  scope.move();
  return root;
}

/** Absolute, and no component that is empty, `.` or `..`. Wider than the CRD's isNormalPath: which characters a path may hold is no question of safety here. */
function isPlainPath(path: string): boolean {
  return path.startsWith('/') && !path.includes('\0') && path.slice(1).split('/').every((component) => component !== '' && component !== '.' && component !== '..');
}

export function identityOf(root: Dir): RootIdentity {
  const { device, inode, mountId } = root.stat();
  return { device, inode, mountId };
}

export function isSameRoot(one: RootIdentity, other: RootIdentity): boolean {
  return one.device === other.device && one.inode === other.inode && one.mountId === other.mountId;
}

/** @throws ERR_ROOT_UNREADABLE */
export function filesystemOf(root: Dir): Filesystem {
  const { type, blocks, bfree, bavail, frsize, files, ffree } = statfsOf(root);
  // Blocks count in frsize; bsize is the preferred transfer size, 256 times as large on some filesystems.
  const space = {
    capacityBytes: Number(blocks * frsize), availableBytes: Number(bavail * frsize),
    // What it keeps for root. Elsewhere the difference may be anything, and change.
    ...(type === ext4 && { mostFreeBytes: Number((blocks - keptForRoot({ blocks, bfree, bavail })) * frsize) }),
  };
  // None at all means that the filesystem does not count them.
  if (files === 0n) return space;
  return { ...space, inodes: Number(files), inodesFree: Number(ffree), ...((type === ext4 || type === tmpfs) && { mostFreeInodes: Number(files) }) };
}

/** Where root has taken of it nobody else has any, and how much it was cannot be seen: then at least what mke2fs keeps by default, a twentieth. */
function keptForRoot({ blocks, bfree, bavail }: Pick<BigIntStatsFs, 'blocks' | 'bfree' | 'bavail'>): bigint {
  if (bavail > 0n) return bfree - bavail;
  return bfree > blocks / 20n ? bfree : blocks / 20n;
}

/** As statfs(2) tells them apart; ext2 and ext3 are ext4 in this. */
const ext4 = 0xef53n;
const tmpfs = 0x01021994n;

function statfsOf(root: Dir): BigIntStatsFs {
  try {
    return statfsSync(`/proc/self/fd/${root.fd}`, { bigint: true });
  } catch (thrown) {
    throw asDiskError(`look at the filesystem of ${shown(root.path)}`, thrown, 'ERR_ROOT_UNREADABLE');
  }
}

/** Filesystems that two nodes may share, by the magic number of statfs(2): both nodes would evict one tree. */
const sharedFilesystems: ReadonlyMap<bigint, string> = new Map([
  [0x6969n, 'NFS'],
  [0xff534d42n, 'CIFS'],
  [0xfe534d42n, 'SMB'],
  [0x517bn, 'SMB'],
  [0x00c36400n, 'Ceph'],
  [0x01021997n, '9p'],
  [0x65735546n, 'FUSE'],
  [0x5346414fn, 'AFS'],
  [0x6b414653n, 'AFS'],
  [0x73757245n, 'Coda'],
  [0x0bd00bd0n, 'Lustre'],
  [0x47504653n, 'GPFS'],
  [0x7461636fn, 'OCFS2'],
  [0x01161970n, 'GFS2'],
  [0x19830326n, 'BeeGFS'],
]);

function refuseUnfit(root: Dir): void {
  const stat = root.stat();
  // A removed directory that a mount still holds: an empty husk, beside which a new one may stand.
  if (stat.nlink === 0) throw new OperatorError('ERR_ROOT_MISSING', `${shown(root.path)} was removed`);
  const shared = sharedFilesystems.get(BigInt.asUintN(32, statfsOf(root).type));
  if (shared !== undefined) {
    throw new OperatorError('ERR_ROOT_UNSUPPORTED', `${shown(root.path)} lies on ${shared}, which several machines may share`);
  }
  const disguised = disguisedMount(readMounts(), stat.mountId);
  if (disguised !== undefined) {
    throw new OperatorError('ERR_ROOT_SYMLINK', `${shown(root.path)}: what is mounted at ${shown(disguised.mountPoint)} is ${shown(disguised.root)}, as behind a symbolic link`);
  }
}

const rootErrorCodes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'ERR_ROOT_MISSING',
  ELOOP: 'ERR_ROOT_SYMLINK',
  ENOTDIR: 'ERR_ROOT_NOT_DIRECTORY',
  ENAMETOOLONG: 'ERR_PATH_NOT_ALLOWED',
  ENOSYS: 'ERR_ROOT_UNSUPPORTED',
};

/** The sentence names the component that is in the way, where it can still be seen. */
function rootError(path: string, result: number): OperatorError {
  const code = rootErrorCodes[errnoName(result)] ?? 'ERR_ROOT_UNREADABLE';
  if (code === 'ERR_ROOT_UNSUPPORTED') return new OperatorError(code, 'this kernel has no openat2; Linux 5.6 or newer is needed');
  const obstacle = obstacleOn(path);
  if (code === 'ERR_ROOT_MISSING') return new OperatorError(code, `${shown(obstacle)} does not exist`);
  if (code === 'ERR_ROOT_SYMLINK') return new OperatorError(code, `${shown(obstacle)} is a symbolic link`);
  if (code === 'ERR_ROOT_NOT_DIRECTORY') return new OperatorError(code, `${shown(obstacle)} is not a directory`);
  return diskError(`open ${shown(path)}`, result, code);
}

/** The first component of a path that is missing or no directory. Only for messages. */
function obstacleOn(path: string): string {
  for (let end = path.indexOf('/', 1); ; end = path.indexOf('/', end + 1)) {
    const prefix = end === -1 ? path : path.slice(0, end);
    try {
      if (end === -1 || !lstatSync(prefix).isDirectory()) return prefix;
    } catch (error) {
      return errnoOf(error) === 'EACCES' ? path : prefix;
    }
  }
}
