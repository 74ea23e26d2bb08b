import type { Slices } from '../disk/slices.ts';
import type { MetadataStamp } from '../policy/snapshot.ts';
import { lookAtEntry } from './entry-look.ts';
import type { Victim } from './evict.ts';
import { hasMetadata } from './metadata-file.ts';
import type { Ground } from './site.ts';

/** Whether an entry is still the one that was planned. last_accessed ticks in whole seconds: only the file itself tells whether anybody wrote it since. */
export async function isAsPlanned({ root, format }: Ground, { name, entry }: Victim, slices: Slices): Promise<boolean> {
  if (entry === undefined) return !hasMetadata(root, format, name);
  const now = await lookAtEntry(format, { parent: root, name }, name, slices);
  if (now.outcome !== 'Read') return false;
  const sameUse = entry.clockAhead || now.row.lastAccessedAtMs === entry.lastAccessedAtMs;
  return isSameStamp(now.row.stamp, entry.stamp) && sameUse && now.row.sizeBytes === entry.sizeBytes;
}

export function isSameStamp(one: MetadataStamp, other: MetadataStamp): boolean {
  return one.inode === other.inode && one.changedNs === other.changedNs && one.size === other.size;
}
