import { constants, ftruncateSync, writeSync } from 'node:fs';
import type { Dir, OpenFile } from '../disk/dir.ts';
import { asDiskError, diskError, errno } from '../disk/disk-error.ts';
import { readSmallFile, writeFileAtomically } from '../disk/small-file.ts';
import { OperatorError } from '../errors.ts';
import type { EntryName } from '../policy/snapshot.ts';
import { readMetadata } from './metadata-file.ts';
import type { EvictedEntry, Trigger } from './report.ts';
import type { Ground, Site } from './site.ts';
import { note } from './site.ts';
import type { MemoryPlace } from './state.ts';
import { withOwn } from './state.ts';

/**
 * What left a cache, and what came back: `journal` in our folder, a line of JSON each, the last 1,000 kept. It only tells:
 * nothing is ever decided by it, and a crash may lose the lines of its last pass.
 *
 * A line is its own: one that a crash has torn spoils no other, because each begins with the line break.
 */
export interface JournalRecord {
  readonly atMs: number;
  /** Revived: it was evicted, rested in the trash, and was wanted after all. */
  readonly event: 'Evicted' | 'Revived';
  readonly key: string;
  readonly description: string;
  /** Null where it is not known. */
  readonly sizeBytes: number | null;
  /** Of an eviction: the limit that asked for it, and why the pass ran. Words as they stood there: a later version may know more of them. */
  readonly reason: string | null;
  readonly trigger: string | null;
}

export interface Journal {
  /** Oldest first. */
  readonly records: readonly JournalRecord[];
  /** Lines that are no record: torn by a crash, or not written by us. */
  readonly strangeLines: number;
}

export const maxRecords = 1_000;
const fileName = 'journal';
const tempName = 'journal.new';
const fileMode = 0o600;
/** Some thousand lines of the usual length: rewritten seldom, read at once. */
const compactAboveBytes = 512 * 1024;
/** 1,000 lines of the greatest length, beside as many that were there before. */
const maxBytes = 8 * 1024 * 1024;
const maxTextLength = 255;

/** Writes down what has left. Under the pass lock; a journal that cannot be written is noted, and hinders nothing. */
export function tellEvicted(site: Ground, evicted: readonly EvictedEntry[], trigger: Trigger): void {
  const atMs = site.clock.now();
  tell(site, evicted.slice(-maxRecords).map(({ key, description, sizeBytes, reason }) => ({ atMs, event: 'Evicted', key, description, sizeBytes, reason, trigger })));
}

/** The same for what had left, and came back. */
export function tellRevived(site: Site, names: readonly EntryName[]): void {
  tell(site, revivalRecords(site, names));
}

function tell({ place, errors, backlog }: Ground, records: readonly JournalRecord[]): void {
  try {
    backlog.append(place, records);
  } catch (error) {
    note(errors, error);
  }
}

/** The last attempt of a run to write what a full disk did not take before; what fails is noted. @param lock takes the pass lock, where the caller has it not */
export function writeBacklog({ place, errors, backlog }: Ground, lock: () => Disposable = () => new DisposableStack()): void {
  if (backlog.isEmpty) return;
  try {
    using _lock = lock();
    backlog.flush(place);
  } catch (error) {
    note(errors, error);
  }
}

/** What is known again of entries that are back in their place. */
function revivalRecords({ root, format, clock }: Site, names: readonly EntryName[]): JournalRecord[] {
  return names.map((name) => {
    const file = format.kind === 'Store' ? readMetadata(root, format, name) : undefined;
    const { key, description, sizeBytes } = file?.outcome === 'Read' ? file.metadata : { key: name, description: '', sizeBytes: null };
    return { atMs: clock.now(), event: 'Revived', key, description, sizeBytes, reason: null, trigger: null };
  });
}

/** @throws ERR_DISK_IO, ERR_DISK_FULL; then none of these records stands, and all earlier ones do */
export function appendToJournal(own: Dir, records: readonly JournalRecord[]): void {
  if (records.length === 0) return;
  const newest = records.slice(-maxRecords);
  const sizeBytes = append(own, newest.map(lineOf).join(''));
  if (sizeBytes === undefined) rewrite(own, newest);
  else if (sizeBytes > compactAboveBytes) compact(own, newest);
}

/** @returns the size of the file then, or undefined where what lies there is not ours to write to: not a file, or the file of another name, too */
function append(own: Dir, text: string): number | undefined {
  // O_NONBLOCK: opening a FIFO that nobody reads would wait forever.
  const file = own.openFileOrErrno(fileName, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK, fileMode);
  if (file === -errno.ELOOP || file === -errno.ENXIO || file === -errno.EISDIR) return undefined;
  if (typeof file === 'number') throw diskError(`open ${own.pathOf(fileName)}`, file);
  using opened = file;
  const { kind, nlink, sizeBytes } = opened.stat();
  if (kind !== 'File' || nlink !== 1) return undefined;
  const bytes = Buffer.from(text);
  try {
    for (let written = 0; written < bytes.length; ) {
      own.step('append', fileName);
      written += writeSync(opened.fd, bytes, written);
    }
  } catch (thrown) {
    const error = asDiskError(`write ${opened.path}`, thrown);
    // Whoever writes these records again must not find some of them there.
    if (error instanceof OperatorError) takeBack(opened, sizeBytes);
    throw error;
  }
  return sizeBytes + bytes.length;
}

function takeBack({ fd, path }: OpenFile, sizeBytes: number): void {
  try {
    ftruncateSync(fd, sizeBytes);
  } catch (thrown) {
    throw asDiskError(`truncate ${path}`, thrown);
  }
}

/** Where the disk is full the file stays longer than it should until the next append. */
function compact(own: Dir, newest: readonly JournalRecord[]): void {
  try {
    rewrite(own, compacted(own) ?? newest);
  } catch (error) {
    if (!(error instanceof OperatorError) || error.code !== 'ERR_DISK_FULL') throw error;
  }
}

function compacted(own: Dir): readonly JournalRecord[] | undefined {
  const file = readSmallFile(own, fileName, maxBytes);
  return file.outcome === 'Read' ? parse(file.bytes.toString('utf8')).records.slice(-maxRecords) : undefined;
}

function rewrite(own: Dir, records: readonly JournalRecord[]): void {
  // Left by a crash.
  own.unlink(tempName);
  writeFileAtomically(own, { name: fileName, tempName, content: records.map(lineOf).join(''), mode: fileMode });
}

function lineOf({ atMs, event, key, description, sizeBytes, reason, trigger }: JournalRecord): string {
  const texts = { key: key.slice(0, maxTextLength), description: description.slice(0, maxTextLength) };
  return `\n${JSON.stringify({ time: new Date(atMs).toISOString(), event, ...texts, sizeBytes, reason, trigger })}`;
}

/**
 * Reads the journal of a cache; empty where there is none yet.
 * @throws ERR_JOURNAL_UNREADABLE, ERR_PATH_NOT_ALLOWED, ERR_ROOT_*
 */
export function readJournal(place: MemoryPlace): Journal {
  const file = withOwn(place, (own) => readSmallFile(own, fileName, maxBytes));
  if (file === undefined || file.outcome === 'Absent') return { records: [], strangeLines: 0 };
  if (file.outcome !== 'Read') throw new OperatorError('ERR_JOURNAL_UNREADABLE', file.message);
  const { records, strangeLines } = parse(file.bytes.toString('utf8'));
  return { records: records.slice(-maxRecords), strangeLines };
}

/** Whoever may write the directory may have written any of it. */
function parse(text: string): Journal {
  const lines = text.split('\n').filter((line) => line !== '');
  const records = lines.map(parseLine).filter((record) => record !== undefined);
  return { records, strangeLines: lines.length - records.length };
}

function parseLine(line: string): JournalRecord | undefined {
  const fields = fieldsIn(line);
  const { time, event, key, description, sizeBytes, reason, trigger } = fields;
  const atMs = typeof time === 'string' ? Date.parse(time) : NaN;
  const isRecord = Number.isFinite(atMs) && (event === 'Evicted' || event === 'Revived') && isText(key) && isText(description)
    && (sizeBytes === null || (Number.isSafeInteger(sizeBytes) && (sizeBytes as number) >= 0)) && isWordOrNull(reason) && isWordOrNull(trigger);
  return isRecord ? { atMs, event, key, description, sizeBytes: sizeBytes as number | null, reason, trigger } : undefined;
}

function fieldsIn(line: string): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(line)) as Readonly<Record<string, unknown>>;
  } catch {
    return {};
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= maxTextLength;
}

function isWordOrNull(value: unknown): value is string | null {
  return value === null || (typeof value === 'string' && /^[A-Z][A-Za-z]{0,31}$/.test(value));
}
