import { NoRoomToBegin } from '../cache/first-space.ts';
import type { PassReport } from '../cache/report.ts';
import { messageOf, OperatorError } from '../errors.ts';
import type { Problem } from '../policy/node-report.ts';
import { problemReason } from '../policy/node-report.ts';

/** While it is unknown what is in use nothing is evicted: that is a failing cache, though its figures are known. */
export function holdsProblem(report: PassReport): Problem | undefined {
  const errors = report.errors.filter(({ code }) => code === 'ERR_HOLDS_UNREADABLE');
  const [first] = errors;
  if (first === undefined) return undefined;
  // What is told of one entry names it, and no name of an entry may stand in a status.
  const ofEntries = `of ${errors.length} ${errors.length === 1 ? 'entry' : 'entries'} it cannot be told whether they are in use; the agent's log names them and says why`;
  return { reason: problemReason(first.code), message: first.entry === undefined ? first.message : ofEntries };
}

export function isLockBusy(error: unknown): error is OperatorError {
  return error instanceof OperatorError && error.code === 'ERR_LOCK_BUSY';
}

/** @param evictedBefore how many entries of the cache were evicted so far */
export function problemOf(error: unknown, evictedBefore = 0): Problem {
  const code = error instanceof OperatorError ? error.code : 'ERR_BUG';
  // An earlier version evicted there, or it was another directory then: whoever relied on that has to know that it ended, and what it did.
  const ended = code === 'ERR_ROOT_KNOWN_LAYOUT' && evictedBefore > 0 ? `; until now it was governed as a directory of entries, and ${evictedBefore} were evicted: check it with its own tool` : '';
  return { reason: problemReason(code), message: `${error instanceof NoRoomToBegin ? error.publicMessage : messageOf(error)}${ended}` };
}
