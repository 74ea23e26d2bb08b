import type { Dir } from '../disk/dir.ts';
import { readSmallFile, writeFileAtomically } from '../disk/small-file.ts';
import { birthNsAt } from '../disk/stat.ts';
import type { Machine } from './machine.ts';
import { isSameMachine, thisMachine } from './machine.ts';

/**
 * What our folder of a cache says of itself, in its file `identity`: which directory it belongs to, and the machine it was made on. The
 * device of a filesystem is another after each start of the machine; inode and birth time stay with the directory.
 */
export interface Identity {
  readonly random: string;
  readonly inode: string;
  /** In ns since the epoch; 0 where the filesystem does not say. */
  readonly bornNs: string;
  /** Of the cache's directory when the folder was made; for people. */
  readonly path: string;
  readonly machine: Machine;
}

export const identityFile = 'identity';
const tempName = 'identity.new';
const formatVersion = 1;
/** A path of 4,096 bytes, each of them escaped, and the rest. */
const maxBytes = 32 * 1024;

/** @param random what tells this folder from all others that were ever made for the directory */
export function newIdentity(root: Dir, random: string): Identity {
  return { random, ...marksOf(root), path: root.path, machine: thisMachine() };
}

export function marksOf(root: Dir): Pick<Identity, 'inode' | 'bornNs'> {
  return { inode: String(root.stat().inode), bornNs: String(birthNsAt(root.fd, '') ?? 0n) };
}

/** @returns 'Absent' where the folder has none; undefined where it has one that cannot be believed */
export function readIdentity(own: Dir): Identity | 'Absent' | undefined {
  const file = readSmallFile(own, identityFile, maxBytes);
  if (file.outcome === 'Absent') return 'Absent';
  if (file.outcome !== 'Read' || file.stat.uid !== process.geteuid?.() || file.stat.nlink !== 1) return undefined;
  return parse(file.bytes.toString('utf8'));
}

/** To be called where nobody else writes it: under the pass lock, or before the folder has its name. @throws ERR_DISK_IO, ERR_DISK_FULL */
export function writeIdentity(own: Dir, identity: Identity): void {
  // Left by a crash.
  own.unlink(tempName);
  writeFileAtomically(own, { name: identityFile, tempName, content: `${JSON.stringify({ formatVersion, ...identity })}\n`, mode: 0o600 });
}

export function belongsTo(identity: Identity, root: Dir): boolean {
  const { inode, bornNs } = marksOf(root);
  return identity.inode === inode && identity.bornNs === bornNs;
}

export function isOfThisMachine({ machine }: Identity): boolean {
  return isSameMachine(machine, thisMachine());
}

function parse(text: string): Identity | undefined {
  let value: Partial<Record<string, unknown>> | null;
  try {
    value = Object(JSON.parse(text)) as Partial<Record<string, unknown>>;
  } catch {
    return undefined;
  }
  const { formatVersion: version, random, inode, bornNs, path, machine } = value;
  const texts = [random, inode, bornNs, path].every((each) => typeof each === 'string');
  return version === formatVersion && texts && typeof machine === 'object' && machine !== null ? (value as unknown as Identity) : undefined;
}
