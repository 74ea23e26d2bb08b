import type { PassReport } from '../cache/report.ts';
import { messageOf, OperatorError } from '../errors.ts';
import type { Problem } from '../policy/node-report.ts';
import { problemReason } from '../policy/node-report.ts';

/** While it is unknown what is in use nothing is evicted: that is a failing cache, though its figures are known. */
export function holdsProblem(report: PassReport): Problem | undefined {
  const error = report.errors.find((each) => each.code === 'ERR_HOLDS_UNREADABLE');
  return error && { reason: problemReason(error.code), message: error.message };
}

export function isLockBusy(error: unknown): error is OperatorError {
  return error instanceof OperatorError && error.code === 'ERR_LOCK_BUSY';
}

export function problemOf(error: unknown): Problem {
  const code = error instanceof OperatorError ? error.code : 'ERR_BUG';
  return { reason: problemReason(code), message: messageOf(error) };
}
