import { constants } from 'node:os';
import type { ErrorCode } from '../errors.ts';
import { OperatorError } from '../errors.ts';

export const errno = constants.errno;

const errnoNames = new Map(Object.entries(errno).map(([name, number]) => [number, name]));

/** The reasons that people meet, in words; any other is named by its code alone. */
const reasons: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EBUSY: 'it is a mount point or in use',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'the name is taken',
  EIO: 'input/output error',
  EISDIR: 'it is a directory',
  ELOOP: 'a symbolic link is on the way',
  EMFILE: 'too many files are open',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'it does not exist',
  ENOSPC: 'no space is left',
  ENOTDIR: 'it is not a directory',
  ENOTEMPTY: 'it is not empty',
  EPERM: 'not permitted; it may be immutable',
  EROFS: 'the filesystem is read-only',
  ESTALE: 'the file handle is stale',
  EXDEV: 'something is mounted there',
};

const fullDisk: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT']);

/** The name of a negated errno as the calls of libc.ts return it: -2 → ENOENT. */
export function errnoName(result: number): string {
  return errnoNames.get(-result) ?? `errno ${-result}`;
}

/** `permission denied (EACCES)` */
export function reasonOf(result: number): string {
  const name = errnoName(result);
  const words = reasons[name];
  return words === undefined ? name : `${words} (${name})`;
}

/**
 * @param act what was tried, with the path: `cannot remove /a/b`
 * @param result the negated errno of a call of libc.ts
 * @param reason in words, where the call that failed says more than its errno
 */
export function diskError(act: string, result: number, code?: ErrorCode, reason = reasonOf(result)): OperatorError {
  const name = errnoName(result);
  const cause = Object.assign(new Error(name), { code: name, errno: result });
  return new OperatorError(code ?? (fullDisk.has(name) ? 'ERR_DISK_FULL' : 'ERR_DISK_IO'), `cannot ${act}: ${reason}`, { cause });
}

const absences: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ESTALE']);

/** Whether a disk error only says that something that was listed before does not exist any more. Others may remove or replace it at any moment. */
export function isAbsence(error: unknown): boolean {
  const code = error instanceof OperatorError && error.code.startsWith('ERR_DISK_') ? (error.cause as { code?: unknown } | undefined)?.code : undefined;
  return typeof code === 'string' && absences.has(code);
}

/** The same for what Node's own fs functions throw. Anything else is no disk error, and passes. */
export function asDiskError(act: string, thrown: unknown, code?: ErrorCode): unknown {
  const number = (thrown as { errno?: unknown } | null)?.errno;
  return typeof number === 'number' && !(thrown instanceof OperatorError) ? diskError(act, number, code) : thrown;
}

/** A path as it may stand in a message: one line, and no control characters that a terminal would obey. */
export function shown(path: string): string {
  return /^[\P{C}]*$/u.test(path) ? path : JSON.stringify(path).replaceAll('\u007f', '\\u007f');
}
