import { isUtf8 } from 'node:buffer';
import { randomInt } from 'node:crypto';
import type { FormatName } from '../../policy/compiled.ts';
import type { HoldSource } from '../../policy/holds.ts';
import type { EntryName } from '../../policy/snapshot.ts';
import { isKey } from '../backend.ts';
import { ownFolder } from '../own-search.ts';
import { scan } from '../scan.ts';
import type { Damage, EvictionStep, Metadata, Role, StoreFormat } from './format.ts';
import { PlainMetadataReader } from './plain-metadata.ts';

/**
 * What the stores of the A3S Box runtime have in common (crate a3s-box-runtime 3.3.0, src/cache):
 *
 *     <name>/                  the tree
 *     <name>.meta.json         pretty JSON, 0600, Unix seconds
 *     <name>.meta.json.lock    empty, flock(2) while the metadata is written, never removed
 *     .staging-XXXXXX/d/       a put on its way
 *     .tmpXXXXXX               metadata on its way
 *
 * Any single path component may be a key.
 */
export interface A3sStore {
  readonly name: FormatName;
  readonly holdSources: readonly HoldSource[];
  /** The field of the metadata that holds the key. */
  readonly keyField: 'key' | 'digest';
  readonly hasDescription: boolean;
  /** The name of the directory for a key. */
  readonly directoryOf: (key: string) => string;
  /** Names the runtime itself gives. */
  readonly ordinaryName: RegExp;
}

const metadataSuffix = '.meta.json';
const lockSuffix = '.meta.json.lock';

/** A file name has at most 255 bytes, and the lock's must fit. */
const maxNameBytes = 255 - lockSuffix.length;

/**
 * The runtime serves an entry when directory and metadata are both there, rewrites the metadata on every hit and adopts a directory
 * without metadata on put. So metadata goes first (from then on a miss, and nothing is lost), and the directory while a link
 * stands in its place, so that no put adopts what is leaving.
 */
const besideTheRuntime: readonly EvictionStep[] = ['MoveMetadata', 'Settle', 'ExchangeForLink', 'Settle', 'RemoveLink', 'MoveTree'];

export function a3sStore(store: A3sStore): StoreFormat {
  const plain = new PlainMetadataReader({ ...store, colonAsUnderscore: store.directoryOf(':') === '_' });
  const format: StoreFormat = {
    kind: 'Store',
    name: store.name,
    holdSources: store.holdSources,
    evictionOrder: besideTheRuntime,
    scan: (root, options) => scan(root, format, options),
    nameOf: (key) => (isKey(key) ? nameIn(store, store.directoryOf(key)) : undefined),
    roleOf: (name) => roleIn(store, name),
    isTree: (kind) => kind === 'Directory',
    looksLikeEntry: (name) => store.ordinaryName.test(name),
    metadataSuffix,
    lockSuffix,
    metadataName: (name) => name + metadataSuffix,
    lockName: (name) => name + lockSuffix,
    stagingName: () => `.staging-${sixLetters()}`,
    tempName: () => `.tmp${sixLetters()}`,
    parseMetadata: (bytes, name) => parse(store, bytes, name),
    readPlainMetadata: (bytes, length, row) => plain.read(bytes, length, row),
    serialiseMetadata: (metadata) => serialise(store, metadata),
  };
  return format;
}

/**
 * Stricter than the runtime where a name could mean two things: dot names are never entries, nor is what ends like metadata.
 * U+FFFD is how a name that is no UTF-8 reads: it would not lead back to the file.
 */
function nameIn(store: A3sStore, name: string): EntryName | undefined {
  const fits = isKey(name) && !name.startsWith('.') && !name.includes('\ufffd') && name.isWellFormed() && Buffer.byteLength(name) <= maxNameBytes;
  const ambiguous = name.endsWith(metadataSuffix) || name.endsWith(lockSuffix) || store.directoryOf(name) !== name;
  return fits && !ambiguous ? (name as EntryName) : undefined;
}

function roleIn(store: A3sStore, name: string): Role {
  if (name.startsWith('.')) return roleOfDotName(name);
  if (name.endsWith(lockSuffix)) return { role: 'Lock' };
  const isMetadata = name.endsWith(metadataSuffix);
  const entry = nameIn(store, isMetadata ? name.slice(0, -metadataSuffix.length) : name);
  if (entry === undefined) return { role: 'Unrecognised' };
  return { role: isMetadata ? 'Metadata' : 'Entry', name: entry };
}

function roleOfDotName(name: string): Role {
  if (name === ownFolder || name.startsWith(`${ownFolder}.`)) return { role: 'Own' };
  if (/^\.staging-[A-Za-z0-9]{6}$/.test(name)) return { role: 'Staging' };
  return { role: /^\.tmp[A-Za-z0-9]{6}$/.test(name) ? 'Temp' : 'Unrecognised' };
}

/** As the crate tempfile does. */
function sixLetters(): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  return Array.from({ length: 6 }, () => letters[randomInt(letters.length)]).join('');
}

type Fields = Readonly<Record<string, unknown>>;

function parse(store: A3sStore, bytes: Buffer, name: EntryName): Metadata | Damage {
  const fields = fieldsIn(bytes);
  if (fields === undefined) return { damage: 'MetadataMalformed', message: 'it is not a JSON object' };
  const key = fields[store.keyField];
  const description = store.hasDescription ? fields['description'] : '';
  if (typeof key !== 'string') return { damage: 'MetadataMalformed', message: `"${store.keyField}" is not a text` };
  if (store.directoryOf(key) !== name) return { damage: 'MetadataNamesAnotherKey', message: `it names the ${store.keyField} ${JSON.stringify(key.slice(0, 200))}` };
  if (typeof description !== 'string') return { damage: 'MetadataMalformed', message: '"description" is not a text' };
  for (const field of ['size_bytes', 'cached_at', 'last_accessed']) {
    if (typeof fields[field] !== 'number') return { damage: 'MetadataMalformed', message: `"${field}" is not a number` };
    if (!isCount(fields[field])) return { damage: 'MetadataValueInvalid', message: `"${field}" is ${fields[field]}` };
  }
  return {
    // The same text twice would be kept twice.
    key: key === name ? name : key,
    description,
    sizeBytes: fields['size_bytes'] as number,
    cachedAtMs: (fields['cached_at'] as number) * 1000,
    lastAccessedAtMs: (fields['last_accessed'] as number) * 1000,
  };
}

function fieldsIn(bytes: Buffer): Fields | undefined {
  if (!isUtf8(bytes)) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
  } catch {
    return undefined;
  }
}

/** Beyond 2^53 a number is no longer the one that was written. */
function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function serialise(store: A3sStore, metadata: Metadata): string {
  const fields = {
    [store.keyField]: metadata.key,
    ...(store.hasDescription && { description: metadata.description }),
    size_bytes: metadata.sizeBytes,
    cached_at: Math.floor(metadata.cachedAtMs / 1000),
    last_accessed: Math.floor(metadata.lastAccessedAtMs / 1000),
  };
  return JSON.stringify(fields, null, 2);
}
