import type { Dir } from '../disk/dir.ts';
import type { Hold, Holds } from '../policy/holds.ts';
import { mergeHolds, noHolds } from '../policy/holds.ts';
import type { Plan } from '../policy/plan.ts';
import type { EntryName } from '../policy/snapshot.ts';
import type { Format } from './formats/format.ts';
import type { Ground } from './site.ts';
import { note } from './site.ts';

/** What is in use, with what the scan before saw by the way. */
export function withUsesSeen(format: Format, holds: Holds): Holds {
  return format.kind === 'Plain' ? mergeHolds([holds, { ...noHolds, entries: format.usesSeen }]) : holds;
}

/** What is in use now was used now, also where nothing on the disk says so afterwards. */
export function tellUses(format: Format, { verdicts, held }: Plan, nowMs: number): void {
  if (format.kind === 'Store' || held.inUse.entries === 0) return;
  for (const { entry, reason, hold } of verdicts) if (reason === 'InUse') noteUse(format, entry.name, { hold, nowMs });
}

/** Remembers that an entry is used now. An entry of which that is unknown keeps the last use that it had. */
export function noteUse(format: Format, name: EntryName, { hold, nowMs }: { hold: Hold | undefined; nowMs: number }): void {
  if (format.kind === 'Plain' && hold !== undefined && hold.unknown !== true) format.sawInUse(name, nowMs);
}

/** What a format remembers beyond the disk outlives the agent. Under the pass lock. On a full disk it is written later. */
export function saveUses({ format, place, errors, backlog, clock }: Ground): void {
  const nowMs = clock.now();
  if (format.kind === 'Store' || !format.isSaveDue(nowMs)) return;
  try {
    backlog.write(place, (own) => writeUses(format, own, nowMs));
  } catch (error) {
    note(errors, error);
  }
}

/** The same at once. @throws ERR_DISK_IO, ERR_DISK_FULL */
export function writeUses(format: Format, own: Dir, nowMs: number): void {
  if (format.kind === 'Plain') format.save(own, nowMs);
}
