import { stopSignal } from '../agent/stop-signal.ts';
import { reasonOf } from '../disk/disk-error.ts';
import { TextOutput } from '../observe/text-output.ts';
import type { ExitCode } from './exit.ts';

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

/** Standard output and standard error of this process. */
export class ProcessIo implements Io {
  readonly errIsTerminal = process.stderr.isTTY;
  readonly stopSignal = stopSignal;
  readonly #stdout = new TextOutput(1);
  readonly #stderr = new TextOutput(2);

  out(text: string): void {
    this.#stdout.write(text);
  }

  err(text: string): void {
    this.#stderr.write(text);
  }

  /**
   * Waits until everything is written. A result that was lost makes a failure of a command that succeeded, except where the reader of a pipe
   * left early (`| head`). What was lost of standard error changes nothing: the status says whether something failed.
   */
  async end(code: ExitCode): Promise<ExitCode> {
    await this.#stdout.flushed();
    const { failure } = this.#stdout;
    const isLost = failure !== undefined && failure.code !== 'EPIPE';
    if (isLost) this.err(`cannot write the result to standard output: ${reasonOf(failure.errno ?? 0)}\n`);
    await this.#stderr.flushed();
    return isLost && code === 0 ? 1 : code;
  }
}

export type OutputFormat = 'table' | 'wide' | 'json';

export function outJson(io: Io, value: unknown): void {
  io.out(`${JSON.stringify(value, null, 2)}\n`);
}
