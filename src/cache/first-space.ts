import { deleteTree } from '../disk/delete-tree.ts';
import { namesIn } from '../disk/dir-entries.ts';
import { Slices } from '../disk/slices.ts';
import { OperatorError } from '../errors.ts';
import type { Holds } from '../policy/holds.ts';
import { holdOf } from '../policy/holds.ts';
import type { EntryName } from '../policy/snapshot.ts';
import { isAsPlanned, isSameStamp } from './as-planned.ts';
import type { Victim } from './evict.ts';
import type { HiddenTree } from './hidden.ts';
import { deleteHidden, hideMetadata, hideTree, openHost, showMetadata, showTree } from './hidden.ts';
import { hasMetadata } from './metadata-file.ts';
import { trashFolder } from './own-folder.ts';
import { findOwn } from './own-search.ts';
import type { Ground } from './site.ts';
import { lockEntry, note } from './site.ts';
import { sweepHidden } from './sweep-hidden.ts';
import { garbageIn } from './trash.ts';

/** What was removed without any space. */
export interface FirstSpace {
  /** Victims that are gone. They rest nowhere. */
  readonly gone: readonly Victim[];
  /** Something else that was ours is gone. */
  readonly tidied: boolean;
}

/**
 * Removes what can be removed where a disk is so full that neither a folder nor a link can be made, until something is gone: what we left
 * ourselves; else victims that are a single file, by unlink; else victims that are folders, out of sight (hidden.ts). Each is asked before and, a
 * settle later, after, and comes back where it is wanted. To be called under the lock of `lockFullDisk`, with no reserve.
 *
 * A process that stops in the middle leaves what `sweepHidden` finishes.
 * @param most so many victims at once; more only where none of them goes
 */
export async function makeFirstSpace(ground: Ground, victims: readonly Victim[], most: number): Promise<FirstSpace> {
  const slices = new Slices();
  if (await removeOwnLeftovers(ground, slices)) return { gone: [], tidied: true };
  const files = victims.filter(({ name }) => ground.root.statOf(name)?.kind === 'File');
  const folders = victims.filter(({ name }) => ground.root.statOf(name)?.kind === 'Directory');
  const removal = new Removal(ground, slices);
  for (const batch of batches(files, most)) if (await removal.unlinkFiles(batch)) break;
  // Two: one may lie in the other.
  if (removal.gone.length === 0) for (const batch of batches(folders, Math.max(2, most))) if (await removal.removeFolders(batch)) break;
  return { gone: removal.gone, tidied: false };
}

function* batches<T>(all: readonly T[], size: number): Generator<readonly T[]> {
  for (let start = 0; start < all.length; start += size) yield all.slice(start, start + size);
}

/** Garbage of the trash, files whose writing was stopped, and what a process like this one left. */
async function removeOwnLeftovers(ground: Ground, slices: Slices): Promise<boolean> {
  const { format, errors } = ground;
  let { deleted } = await sweepHidden(ground, slices);
  using own = findOwn(ground.place);
  if (own === undefined) return deleted > 0;
  for (const name of namesIn(own)) if (name.endsWith('.new') && own.statOf(name)?.kind === 'File' && own.unlink(name)) deleted += 1;
  using trash = own.openDirIfPresent(trashFolder);
  if (trash === undefined) return deleted > 0;
  for await (const name of garbageIn(trash, format, slices)) {
    const { firstError } = await deleteTree(trash, name, { slices });
    if (firstError === undefined) deleted += 1;
    else note(errors, firstError, name);
  }
  return deleted > 0;
}

class Removal {
  readonly gone: Victim[] = [];
  readonly #ground: Ground;
  readonly #slices: Slices;

  constructor(ground: Ground, slices: Slices) {
    this.#ground = ground;
    this.#slices = slices;
  }

  /** Whoever has such a file open goes on reading it. @returns whether any is gone */
  async unlinkFiles(batch: readonly Victim[]): Promise<boolean> {
    const waiting = await this.#filter(batch, (victim, holds) => this.#isUnwanted(victim, holds));
    await this.#settle(waiting.length);
    for (const victim of await this.#filter(waiting, (each, holds) => this.#isUnwanted(each, holds))) {
      this.#attempt(victim, () => {
        // The batch was asked one after another: a file that has the name since then was not.
        if (this.#isSameFile(victim) && this.#ground.root.unlink(victim.name)) this.gone.push(victim);
      });
    }
    return this.gone.length > 0;
  }

  #isSameFile({ name, entry }: Victim): boolean {
    const stat = this.#ground.root.statOf(name);
    // As numbers, in which a stamp keeps them: some filesystems use all 64 bits.
    return stat?.kind === 'File' && Number(stat.inode) === Number(entry?.stamp.inode);
  }

  /** @returns whether any is gone */
  async removeFolders(batch: readonly Victim[]): Promise<boolean> {
    const waiting = await this.#filter(batch, async (victim, holds) => (await this.#isUnwanted(victim, holds)) && this.#hideMetadata(victim));
    await this.#settle(waiting.length);
    const hidden: { readonly victim: Victim; readonly tree: HiddenTree }[] = [];
    const hosts = new Set<EntryName>();
    const leaving = await this.#filter(waiting, (victim, holds) => this.#isStillUnwanted(victim, holds, undefined));
    for (const [i, victim] of leaving.entries()) {
      this.#attempt(victim, () => {
        // What lies in another stays where it is.
        if (this.#ground.signal?.aborted || hosts.has(victim.name)) return;
        const tree = hideTree(this.#ground, victim.name, leaving.slice(i + 1).map(({ name }) => name));
        if (tree?.host !== undefined) hosts.add(tree.host);
        if (tree !== undefined) hidden.push({ victim, tree });
      });
    }
    await this.#settle(hidden.length);
    for (const { victim, tree } of hidden) await this.#finish(victim, tree);
    // Of all of them: a run that is aborted in the middle has hidden some.
    for (const victim of batch) this.#attempt(victim, () => showMetadata(this.#ground, victim.name));
    return this.gone.length > 0;
  }

  async #finish(victim: Victim, tree: HiddenTree): Promise<void> {
    const { errors, signal } = this.#ground;
    try {
      const holds = this.#ground.holders.read().holds;
      if (signal?.aborted || !(await this.#isStillUnwanted(victim, holds, tree))) {
        // Where something newer has the name, only the older one is left: the next sweep asks again.
        showTree(this.#ground, tree);
        return;
      }
      await deleteHidden(this.#ground, tree, this.#slices);
      this.gone.push(victim);
    } catch (error) {
      note(errors, error, victim.name);
    }
  }

  /** As planned, where it was planned, and asked for by nobody. */
  async #isUnwanted(victim: Victim, holds: Holds): Promise<boolean> {
    const { root } = this.#ground;
    using lock = lockEntry(this.#ground, victim.name);
    const stat = root.statOf(victim.name);
    if (lock === undefined || stat === undefined || stat.mountId !== root.stat().mountId) return false;
    return (await isAsPlanned(this.#ground, victim, this.#slices)) && !(await this.#isHeld(victim, holds, undefined));
  }

  /** After its metadata was hidden, or the whole tree. */
  async #isStillUnwanted(victim: Victim, holds: Holds, tree: HiddenTree | undefined): Promise<boolean> {
    const { root, format } = this.#ground;
    if (hasMetadata(root, format, victim.name) || (await this.#isHeld(victim, holds, tree))) return false;
    if (format.kind === 'Store' || victim.entry === undefined) return true;
    using dir = openHost(root, tree?.host);
    const row = await format.look({ parent: dir, name: tree?.hiddenName ?? victim.name }, victim.name, this.#slices);
    return row !== undefined && isSameStamp(row.stamp, victim.entry.stamp);
  }

  async #isHeld({ name, entry }: Victim, holds: Holds, tree: HiddenTree | undefined): Promise<boolean> {
    const { root, holders, errors } = this.#ground;
    if (holdOf(holds, { name, description: entry?.description }) !== undefined) return true;
    using dir = openHost(root, tree?.host);
    const { hold, error } = await holders.probe({ parent: dir, name: tree?.hiddenName ?? name }, this.#slices);
    if (error !== undefined) errors.push({ ...error, entry: name });
    return hold !== undefined;
  }

  #hideMetadata({ name, entry }: Victim): boolean {
    using lock = lockEntry(this.#ground, name);
    return lock !== undefined && (entry === undefined || hideMetadata(this.#ground, name));
  }

  async #filter(victims: readonly Victim[], isWanted: (victim: Victim, holds: Holds) => Promise<boolean>): Promise<Victim[]> {
    const { holders, signal, errors } = this.#ground;
    const kept: Victim[] = [];
    const { holds } = holders.read();
    for (const victim of victims) {
      if (this.#slices.over) await this.#slices.yield();
      if (signal?.aborted) return [];
      try {
        if (await isWanted(victim, holds)) kept.push(victim);
      } catch (error) {
        note(errors, error, victim.name);
      }
    }
    return kept;
  }

  async #settle(count: number): Promise<void> {
    const { clock, settleMs, signal, onProgress } = this.#ground;
    if (count === 0) return;
    onProgress({ step: 'Settle', done: 0, total: count, waitMs: settleMs });
    await clock.sleep(settleMs, signal);
  }

  #attempt({ name }: Victim, act: () => void): void {
    try {
      act();
    } catch (error) {
      note(this.#ground.errors, error, name);
    }
  }
}

/** Where nothing could be removed. Neither message nor cause leaves the node: they name an entry. */
export class NoRoomToBegin extends OperatorError {
  /** The same without the name of an entry, for a status. */
  readonly publicMessage: string;

  constructor(path: string, file: string) {
    const what = `nothing can be made in ${path}: no space is left, and no entry that has to go can be moved out of sight either`;
    super('ERR_NO_ROOM_TO_BEGIN', `${what}; delete ${file}`);
    this.publicMessage = `${what}; the agent's log names a file to delete`;
  }
}

/** What to delete by hand: metadata alone makes its entry a miss, and a folder that has to go is named whole. */
export function fileToDelete({ root, format }: Ground, { name }: { readonly name: EntryName }): string {
  return root.pathOf(format.kind === 'Store' && hasMetadata(root, format, name) ? format.metadataName(name) : name);
}
