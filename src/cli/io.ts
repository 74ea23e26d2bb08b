import { stopSignal } from '../agent/stop-signal.ts';

/** What ties a command to the process it runs in. */
export interface Io {
  /** Results: tables and JSON. */
  out(text: string): void;
  /** Everything else: notes, progress, problems. */
  err(text: string): void;
  /** A person watches standard error, so that a line may be drawn over. */
  readonly errIsTerminal: boolean;
  /** Aborted once the process is told to stop. Only who asks for it survives that, and has to end by itself. */
  stopSignal(): AbortSignal;
}

export const processIo: Io = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  errIsTerminal: process.stderr.isTTY,
  stopSignal,
};

export type OutputFormat = 'table' | 'wide' | 'json';

export function outJson(io: Io, value: unknown): void {
  io.out(`${JSON.stringify(value, null, 2)}\n`);
}
