/**
 * The log: one JSON object a line in pods, one readable line on a terminal. Written by this thread, because a transport would cost a worker thread
 * (17 MiB) and lose the last lines of a process that dies. A log that cannot be written never stops the work (text-output.ts): lines are lost, and
 * the first line that gets through again is preceded by their number.
 */
import { pino } from 'pino';
import type { DestinationStream } from 'pino';

import { messageOf, OperatorError } from '../errors.ts';
import { TextOutput } from './text-output.ts';

type Write = (fields: object, message: string) => void;

/** What the rest of the program knows of the log. The fields come first: `log.info({policy: 'a3s-box'}, 'accepted')`. */
export interface Log {
  debug: Write;
  info: Write;
  warn: Write;
  error: Write;
  /** The same log, with these fields on every line. */
  child(fields: Record<string, unknown>): Log;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface LogOptions {
  readonly level?: LogLevel;
  /** `lines` for people; by default where standard error is a terminal. */
  readonly format?: 'json' | 'lines';
  /** Where the lines go, each ending in a newline. By default standard error: standard output belongs to the tables of the CLI. */
  readonly write?: (line: string) => void;
}

/** Opens the log. An error under the key `err` is written with its code, hint and cause. */
export function createLog(options: LogOptions = {}): Log {
  const format = options.format ?? (process.stderr.isTTY ? 'lines' : 'json');
  return pino(
    {
      level: options.level ?? 'info',
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (level) => ({ level }) },
      serializers: { err: describeError },
    },
    destination(format, options.write),
  );
}

/** For callers that want no log, and for tests. */
export const silentLog: Log = createLog({ level: 'silent', write: () => undefined });

function destination(format: 'json' | 'lines', write: ((line: string) => void) | undefined): DestinationStream {
  const print = write ?? toStandardError(format);
  return { write: (json: string) => print(format === 'json' ? json : readableLine(json)) };
}

/** Bound of what waits for a reader that sleeps. */
const mostQueuedBytes = 1024 * 1024;

function toStandardError(format: 'json' | 'lines'): (line: string) => void {
  const output = new TextOutput(2, { mostQueuedBytes });
  let reported = 0;
  return (line) => {
    const missing = output.lost - reported;
    if (missing > 0) {
      const fields = { level: 'warn', time: new Date().toISOString(), lines: missing, reason: output.failure?.code ?? 'slow reader', msg: 'lines of the log were lost' };
      const note = `${JSON.stringify(fields)}\n`;
      // A note that is lost counts among the lost writes, and is no line.
      reported += output.write(format === 'json' ? note : readableLine(note)) ? missing : 1;
    }
    output.write(line);
  };
}

interface ErrorLine {
  message: string;
  code?: string;
  hint?: string;
  cause?: ErrorLine;
  stack?: string;
}

/** A stack is kept only for what nobody expected: the errors of the table say where they come from in their message. */
function describeError(error: unknown): ErrorLine {
  const line: ErrorLine = { message: messageOf(error) };
  if (error instanceof OperatorError) {
    line.code = error.code;
    line.hint = error.hint;
  } else if (error instanceof Error && error.stack !== undefined) {
    line.stack = error.stack;
  }
  if (error instanceof Error && error.cause !== undefined) line.cause = describeError(error.cause);
  return line;
}

function readableLine(json: string): string {
  const { level, time, msg, err, ...fields } = JSON.parse(json) as Record<string, unknown> & { err?: ErrorLine };
  const parts = [String(time).slice(11, 19), String(level).toUpperCase().padEnd(5), String(msg)];
  for (const [name, value] of Object.entries(fields)) parts.push(`${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  if (err !== undefined) parts.push(`error=${JSON.stringify(err.message)}`);
  if (err?.hint !== undefined) parts.push(`(${err.hint})`);
  return `${parts.join(' ')}\n${err?.stack === undefined ? '' : `${err.stack}\n`}`;
}
