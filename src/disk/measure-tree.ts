import { constants } from 'node:fs';
import type { OperatorError } from '../errors.ts';
import type { LinkedFiles } from '../policy/linked-files.ts';
import { batchesWhilePresent } from './dir-entries.ts';
import type { Dir } from './dir.ts';
import { diskError, errno } from './disk-error.ts';
import type { Name } from './libc.ts';
import { tryLease } from './libc.ts';
import { NameList } from './name-list.ts';
import type { Slices } from './slices.ts';
import type { Stat } from './stat.ts';
import { statAt } from './stat.ts';

/** What a walk through one tree, or a look at one file, came to. */
export interface Measure {
  /** Of the tree's own folder, or of the file. */
  readonly top: Stat;
  /**
   * Allocated bytes of everything inside, folders too. A file with several names counts by its share: by how many of its names lie
   * here. So it counts once in a tree that has them all, and once in the sum of trees that have them all between them.
   */
  readonly allocatedBytes: number;
  /** Whether a file here has names elsewhere, or may have: then the share changes when those go, and nothing here shows it. */
  readonly hasSharedFiles: boolean;
  /** The files here that have names elsewhere; undefined where they are too many to list, or lie on several devices. */
  readonly linked: LinkedFiles | undefined;
  readonly newestModifiedNs: bigint;
  /** When anything was last written, made or removed here: the newest ctime inside, which nobody can set back, and the mtime of the top, whose ctime a rename changes. */
  readonly writtenNs: bigint;
  /** Everything there is, the top included. */
  readonly names: number;
  /** What shows that the tree is in use, as a path below `parent`; undefined where nothing was found, or nobody asked. */
  readonly use: TreeUse | undefined;
  /** Set where it was asked who has a file open, and could not be told: ERR_HOLDS_UNREADABLE. */
  readonly unasked: OperatorError | undefined;
  /** A folder inside that holds both `boxes` and `cache`, as the home of an A3S Box runtime does. */
  readonly home: string | undefined;
  /** A folder inside, or the top itself, named `rawstaging`: JuiceFS keeps data there that is not uploaded yet. */
  readonly staging: string | undefined;
}

/** Open: another process has the file open or mapped. Mounted: something is mounted there. */
export interface TreeUse {
  readonly kind: 'Open' | 'Mounted';
  readonly path: string;
}

export interface MeasureOptions {
  readonly slices: Slices;
  /** Ask of every file whether another process has it open, until one says yes. Costs an open and three calls a file. */
  readonly askUse: boolean;
}

/** Of so many files it is kept in mind how many of their names were met; a store of packages may have a million with several. */
const mostLinked = 10_000;

/** Each level keeps a directory open. Deeper trees are nothing that a cache makes. */
const maxDepth = 256;

/**
 * Walks a tree by open directories: no link is followed, no mount is crossed, nothing is written, and between slices others have
 * their turn. What comes or goes meanwhile may be counted or not.
 * @returns undefined where nothing has the name
 * @throws ERR_DISK_IO where anything inside cannot be looked at
 */
export async function measureTree(parent: Dir, name: Name, options: MeasureOptions): Promise<Measure | undefined> {
  const top = statAt(parent.fd, name);
  if (top === -errno.ENOENT) return undefined;
  if (typeof top === 'number') throw diskError(`look at ${parent.pathOf(name)}`, top);
  const walk = new MeasureWalk(top, options);
  await walk.visit(parent, name, top, 1);
  return walk.result();
}

interface Linked {
  readonly inode: bigint;
  readonly links: number;
  linksHere: number;
  readonly allocatedBytes: number;
}

function linkedFilesOf(files: ReadonlyMap<string, Linked>): LinkedFiles {
  const all = [...files.values()];
  return {
    inodes: BigUint64Array.from(all, ({ inode }) => inode), linksHere: Uint32Array.from(all, ({ linksHere }) => linksHere),
    links: Uint32Array.from(all, ({ links }) => links), allocatedBytes: Float64Array.from(all, ({ allocatedBytes }) => allocatedBytes),
  };
}

class MeasureWalk {
  readonly #top: Stat;
  readonly #options: MeasureOptions;
  #bytes = 0;
  #newestNs: bigint;
  #writtenNs: bigint;
  #names = 0;
  #use: TreeUse | undefined;
  #unasked: OperatorError | undefined;
  #home: string | undefined;
  #staging: string | undefined;
  /** Of the files with several names those of which some were not met yet. */
  readonly #unmet = new Map<string, Linked>();
  #mayShare = false;

  constructor(top: Stat, options: MeasureOptions) {
    this.#top = top;
    this.#options = options;
    this.#newestNs = top.modifiedNs;
    this.#writtenNs = top.modifiedNs;
  }

  async visit(parent: Dir, name: Name, stat: Stat, depth: number): Promise<void> {
    if (stat.mountId !== this.#top.mountId) {
      this.#use ??= { kind: 'Mounted', path: parent.pathOf(name) };
      return;
    }
    this.#count(stat);
    if (stat !== this.#top && stat.changedNs > this.#writtenNs) this.#writtenNs = stat.changedNs;
    if (stat.kind === 'Directory') await this.#directory(parent, name, depth);
    else if (stat.kind === 'File' && this.#options.askUse && this.#use === undefined && this.#unasked === undefined) this.#ask(parent, name);
  }

  result(): Measure {
    return {
      top: this.#top, allocatedBytes: Math.round(this.#bytes), hasSharedFiles: this.#mayShare || this.#unmet.size > 0, linked: this.#mayShare ? undefined : linkedFilesOf(this.#unmet), newestModifiedNs: this.#newestNs, writtenNs: this.#writtenNs, names: this.#names,
      use: this.#use, unasked: this.#unasked, home: this.#home, staging: this.#staging,
    };
  }

  #count(stat: Stat): void {
    this.#names += 1;
    if (stat.modifiedNs > this.#newestNs) this.#newestNs = stat.modifiedNs;
    if (stat.kind === 'Directory' || stat.nlink <= 1) {
      this.#bytes += stat.allocatedBytes;
      return;
    }
    this.#bytes += stat.allocatedBytes / stat.nlink;
    if (!this.#mayShare) this.#meet(stat);
  }

  #meet({ device, inode, nlink, allocatedBytes }: Stat): void {
    const file = `${device}:${inode}`;
    const linked = this.#unmet.get(file) ?? { inode, links: nlink, linksHere: 0, allocatedBytes };
    linked.linksHere += 1;
    if (linked.linksHere === linked.links) this.#unmet.delete(file);
    else this.#unmet.set(file, linked);
    // A btrfs subvolume inside has inode numbers of its own.
    this.#mayShare = this.#unmet.size > mostLinked || device !== this.#top.device;
    if (this.#mayShare) this.#unmet.clear();
  }

  async #directory(parent: Dir, name: Name, depth: number): Promise<void> {
    if (depth > maxDepth) throw diskError(`look through ${parent.pathOf(name)}`, -errno.ENAMETOOLONG);
    const dir = parent.openDirOrErrno(name);
    // Gone, or swapped for something else, since it was looked at.
    if (dir === -errno.ENOENT || dir === -errno.ENOTDIR || dir === -errno.ELOOP) return;
    if (typeof dir === 'number') throw diskError(`open ${parent.pathOf(name)}`, dir);
    using opened = dir;
    const subdirectories = await this.#sort(opened);
    if (isHome(subdirectories)) this.#home ??= opened.path;
    if (isNamed(name, rawStaging)) this.#staging ??= opened.path;
    for (const each of subdirectories) {
      const stat = statAt(opened.fd, each);
      if (typeof stat !== 'number') await this.visit(opened, each, stat, depth + 1);
      else if (stat !== -errno.ENOENT) throw diskError(`look at ${opened.pathOf(each)}`, stat);
    }
  }

  /** Counts what is no directory, and collects the rest: the names of a batch are gone with the next. */
  async #sort(dir: Dir): Promise<NameList> {
    const { slices } = this.#options;
    const subdirectories = new NameList();
    for (const batch of batchesWhilePresent(dir)) {
      for (const { bytes } of batch) {
        const stat = statAt(dir.fd, bytes);
        if (stat === -errno.ENOENT) continue;
        if (typeof stat === 'number') throw diskError(`look at ${dir.pathOf(bytes)}`, stat);
        if (stat.kind === 'Directory') subdirectories.push(bytes);
        else await this.visit(dir, bytes, stat, 0);
        if (slices.over) await slices.yield();
      }
    }
    return subdirectories;
  }

  #ask(dir: Dir, name: Name): void {
    const asked = isOpenElsewhere(dir, name);
    if (asked === true) this.#use = { kind: 'Open', path: dir.pathOf(name) };
    else if (asked !== false) this.#unasked = asked;
  }
}

/**
 * Whether another process has a regular file open or mapped. Whoever opens it in the microseconds of the question waits for the answer;
 * with O_NONBLOCK it is told EWOULDBLOCK instead.
 * @returns ERR_HOLDS_UNREADABLE where that cannot be asked
 */
function isOpenElsewhere(dir: Dir, name: Name): boolean | OperatorError {
  // O_NONBLOCK: swapped for a FIFO since it was looked at, it would wait for a writer.
  const file = dir.openFileOrErrno(name, constants.O_RDONLY | constants.O_NONBLOCK);
  if (file === -errno.ENOENT || file === -errno.ELOOP || file === -errno.ENXIO) return false;
  // Another's lease stands in our way.
  if (file === -errno.EAGAIN || file === -errno.ETXTBSY) return true;
  if (typeof file === 'number') return cannotAsk(dir, name, file);
  using opened = file;
  const lease = tryLease(opened.fd);
  if (lease >= 0) return false;
  if (lease === -errno.EAGAIN) return true;
  return cannotAsk(dir, name, lease);
}

function cannotAsk(dir: Dir, name: Name, result: number): OperatorError {
  return diskError(`ask whether ${dir.pathOf(name)} is open (for files of other owners that takes CAP_LEASE)`, result, 'ERR_HOLDS_UNREADABLE');
}

function isHome(subdirectories: NameList): boolean {
  let parts = 0;
  for (const each of subdirectories) if (each.equals(boxes) || each.equals(cache)) parts += 1;
  return parts === 2;
}

function isNamed(name: Name, wanted: Buffer): boolean {
  return typeof name === 'string' ? name === wanted.toString() : wanted.equals(name);
}
const rawStaging = Buffer.from('rawstaging');
const boxes = Buffer.from('boxes');
const cache = Buffer.from('cache');
