import { CommanderError } from 'commander';
import type { ErrorCode } from '../errors.ts';
import { messageOf, OperatorError } from '../errors.ts';
import type { Io } from './io.ts';
import { printable } from './table.ts';

/**
 * Done; something failed, all else was still done; the input is wrong and nothing was touched; nothing failed, and a limit is not met all the
 * same; told to stop, as a shell says it of SIGINT.
 */
export const exitCodes = { done: 0, failed: 1, wrongInput: 2, unmet: 3, stopped: 130 } as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** Input with mistakes: each is one line that names the place, what is wrong, and what to write instead. */
export class InputError extends OperatorError {
  readonly lines: readonly string[];

  constructor(lines: readonly string[]) {
    super('ERR_INPUT_INVALID', lines.join('; '));
    this.lines = lines;
  }
}

const wrongInput: ReadonlySet<ErrorCode> = new Set([
  'ERR_INPUT_INVALID', 'ERR_INPUT_UNREADABLE', 'ERR_PATH_NOT_ALLOWED', 'ERR_ENTRY_NAME', 'ERR_KUBE_CONFIG',
]);

/** Tells what ended a command, a line each and never a stack, and returns the exit code that goes with it. */
export function tellFailure(error: unknown, io: Io): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.wrongInput;
  if (error instanceof InputError) {
    for (const line of error.lines) io.err(`${printable(line)}\n`);
    return exitCodes.wrongInput;
  }
  if (error instanceof OperatorError) {
    io.err(`${printable(error.message)} (${error.hint})\n`);
    return wrongInput.has(error.code) ? exitCodes.wrongInput : exitCodes.failed;
  }
  if (isStop(error)) return tellStopped(io);
  io.err(`internal error: ${printable(messageOf(error))}${firstFrame(error)}; please report it with this line\n`);
  return exitCodes.failed;
}

export function tellStopped(io: Io): ExitCode {
  io.err('stopped; what had not left a cache yet is back, the rest goes with the next run\n');
  return exitCodes.stopped;
}

/** Work that was under way when the process was told to stop ends with this. */
export function isStop(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

function firstFrame(error: unknown): string {
  const frame = error instanceof Error ? /\n\s+(at [^\n]+)/.exec(error.stack ?? '')?.[1] : undefined;
  return frame === undefined ? '' : ` ${frame}`;
}
