import type { Io } from '../../src/cli/io.ts';

/** Keeps what a command writes. */
export class Recorder implements Io {
  stdout = '';
  stderr = '';
  readonly errIsTerminal: boolean;

  constructor({ terminal = false } = {}) {
    this.errIsTerminal = terminal;
  }

  stopSignal(): AbortSignal {
    return new AbortController().signal;
  }

  out(text: string): void {
    this.stdout += text;
  }

  err(text: string): void {
    this.stderr += text;
  }
}
