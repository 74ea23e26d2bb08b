import type { Dir } from '../../disk/dir.ts';
import type { Slices } from '../../disk/slices.ts';
import type { FileKind, Stat } from '../../disk/stat.ts';
import { isSameFile } from '../../disk/stat.ts';
import { measureTree } from '../../disk/measure-tree.ts';
import type { EntryRow } from '../../policy/entry-table.ts';
import type { Hold } from '../../policy/holds.ts';
import type { EntryName, Snapshot } from '../../policy/snapshot.ts';
import { ownFolder } from '../own-search.ts';
import { leftInTrash } from '../trash.ts';
import { defaultNamesInTurn, DirectoryLook, isEntryName, isTree, rememberedOf, rowOf } from './directory-look.ts';
import { DirectoryMemory } from './directory-memory.ts';
import type { EvictionStep, PlainFormat, Role, ScanOptions } from './format.ts';
import { refuseHomeIn, refuseNearHome } from './home-nearby.ts';
import { refuseKnownLayout } from './known-layout.ts';
import { LinkedMemory } from './linked-memory.ts';

/** What is remembered is written at most so often, by how much it is: a row is 150 bytes, so that is 25 KB a second. */
const saveMsARow = 6;

/**
 * While a link stands in for it every path goes on reaching the whole tree; so whoever began to read it just before can go on, and is
 * seen. Whoever came through the link at the very last gets it back a moment later, rather than when the rest is over.
 */
const besideItsUsers: readonly EvictionStep[] = ['LookAgain', 'ExchangeForLink', 'Settle', 'RemoveLink', 'AskAgain', 'MoveTree'];

/**
 * A directory whose children are the entries: every folder and regular file that does not begin with a dot, named and described by its
 * name. Nobody keeps metadata of it. Size is what it takes on the disk; last used is the newest mtime inside, or the last time it was
 * seen in use.
 *
 * What is inside is measured when the entry's own stamp (inode, mtime, ctime) is another than before, and in turns (see
 * `defaultNamesInTurn`). A process that scans once measures every entry; what is about to be evicted is measured once more, whole.
 */
export class Directory implements PlainFormat {
  readonly kind = 'Plain';
  readonly name = 'directory';
  readonly holdSources = ['Mount', 'Flock', 'Lease'] as const;
  readonly evictionOrder = besideItsUsers;
  usesSeen: ReadonlyMap<EntryName, Hold> = new Map();
  #memory = new DirectoryMemory();
  #linked = new LinkedMemory();
  #isAfterPurge = false;
  readonly #namesInTurn: number;
  readonly #inTurns: boolean;
  /** The directory that was looked at last. */
  #root: Stat | undefined;
  #savedAtMs = 0;

  /** @param options inTurns: saved measures of an entry are believed until its turn comes */
  constructor({ namesInTurn = defaultNamesInTurn, inTurns = false }: { readonly namesInTurn?: number; readonly inTurns?: boolean } = {}) {
    this.#namesInTurn = namesInTurn;
    this.#inTurns = inTurns;
  }

  refuseRoot(root: Dir, allowedRoots: readonly string[]): void {
    refuseNearHome(root, allowedRoots);
    refuseKnownLayout(root, allowedRoots);
  }

  refuseContent(root: Dir): void {
    refuseHomeIn(root);
  }

  async scan(root: Dir, options: ScanOptions): Promise<Snapshot> {
    this.#load(root, options);
    const look = new DirectoryLook(root, this.#memory, { ...options, namesInTurn: this.#namesInTurn, linked: this.#linked, isAfterPurge: this.#isAfterPurge });
    const snapshot = await look.run().catch((error: unknown) => {
      // What is remembered outlives a look that fails.
      options.room?.giveBack(root.path, this.#memory.size);
      throw error;
    });
    this.usesSeen = look.usesSeen;
    this.#isAfterPurge = false;
    return { ...snapshot, leftovers: await leftInTrash(options.own, this, options.slices) };
  }

  nameOf(key: string): EntryName | undefined {
    return isEntryName(key) ? key : undefined;
  }

  roleOf(name: string): Role {
    if (name === ownFolder || name.startsWith(`${ownFolder}.`)) return { role: 'Own' };
    return isEntryName(name) ? { role: 'Entry', name } : { role: 'Unrecognised' };
  }

  isTree(kind: FileKind): boolean {
    return isTree(kind);
  }

  /** @throws ERR_DISK_IO */
  async look({ parent, name }: { readonly parent: Dir; readonly name: string }, entry: EntryName, slices: Slices): Promise<(EntryRow & { readonly isLinked: boolean }) | undefined> {
    const measure = await measureTree(parent, name, { slices, askUse: false });
    if (measure === undefined || !isTree(measure.top.kind) || measure.home !== undefined || measure.staging !== undefined) return undefined;
    const known = this.#memory.get(entry);
    const now = rememberedOf(parent, name, measure, { measuredAtMs: known?.measuredAtMs ?? 0, usedAtMs: known?.usedAtMs ?? 0 });
    // In the trash it is on its way out: its stamp there is not the one to come back with.
    if (known !== undefined && name === entry) {
      this.#memory.set(entry, now);
      this.#linked.set(entry, measure, parent.stat().device);
    }
    return { ...rowOf(entry, now), isLinked: measure.hasSharedFiles };
  }

  sawPurge(): void {
    this.#isAfterPurge = true;
  }

  sawInUse(name: EntryName, atMs: number): void {
    this.#memory.used(name, atMs);
  }

  isSaveDue(nowMs: number): boolean {
    return nowMs < this.#savedAtMs || nowMs >= this.#savedAtMs + this.#memory.size * saveMsARow;
  }

  save(own: Dir, nowMs: number): void {
    // Nothing was looked at: what an agent before this one saved still stands.
    if (this.#root === undefined) return;
    this.#savedAtMs = nowMs;
    this.#memory.save(own);
  }

  /** Before the first look at a directory: what an agent before this one knew of it. */
  #load(root: Dir, { own, room }: ScanOptions): void {
    const stat = root.stat();
    if (this.#root !== undefined && isSameFile(this.#root, stat)) return;
    this.#root = stat;
    this.#memory = new DirectoryMemory();
    this.#linked = new LinkedMemory();
    if (own !== undefined) this.#memory.load(own, { most: room?.most, isMeasured: this.#inTurns });
  }
}
