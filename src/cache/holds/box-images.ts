import { createHash } from 'node:crypto';
import { isUtf8 } from 'node:buffer';
import type { Dir } from '../../disk/dir.ts';
import { readSmallFile } from '../../disk/small-file.ts';
import { OperatorError } from '../../errors.ts';

/** `<home>/boxes.json`: the runtime's list of its boxes (a3s-box-runtime 3.3.0, src/box_record.rs), of which `id` and `image` matter here. */
const boxesFile = 'boxes.json';
/** A record has a few KiB. */
const maxBoxesBytes = 16 * 1024 * 1024;

/**
 * The images of the boxes, by their ids. Nothing where there is no such file: then no box is known.
 * @throws ERR_HOLDS_UNREADABLE
 */
export function readBoxImages(home: Dir): ReadonlyMap<string, string> {
  const file = readSmallFile(home, boxesFile, maxBoxesBytes);
  if (file.outcome === 'Absent') return new Map();
  if (file.outcome !== 'Read') throw new OperatorError('ERR_HOLDS_UNREADABLE', file.message);
  const records = recordsIn(file.bytes);
  if (records === undefined) throw new OperatorError('ERR_HOLDS_UNREADABLE', `${home.pathOf(boxesFile)} is no list of boxes`);
  return new Map(records.flatMap(({ id, image }) => (isText(id) && isText(image) ? [[id, image]] : [])));
}

function recordsIn(bytes: Buffer): readonly { readonly id?: unknown; readonly image?: unknown }[] | undefined {
  if (!isUtf8(bytes)) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return Array.isArray(value) ? value.filter((record) => typeof record === 'object' && record !== null) : undefined;
  } catch {
    return undefined;
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

/**
 * The key that the runtime falls back to for a box without a marker: `RootfsCache::compute_key(image, [], [], [])` of
 * a3s-box-runtime 3.3.0, src/cache/rootfs_cache.rs.
 */
export function fallbackKey(image: string): string {
  return createHash('sha256').update(`rootfs-cache-v2\n${image}\n`).digest('hex');
}
