/** Where a command writes, and what it may assume of the reader. */
export interface Io {
  /** Results: tables and JSON. */
  out(text: string): void;
  /** Everything else: notes, progress, problems. */
  err(text: string): void;
  /** A person watches standard error, so that a line may be drawn over. */
  readonly errIsTerminal: boolean;
}

export const processIo: Io = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  errIsTerminal: process.stderr.isTTY,
};

export type OutputFormat = 'table' | 'wide' | 'json';

export function outJson(io: Io, value: unknown): void {
  io.out(`${JSON.stringify(value, null, 2)}\n`);
}
