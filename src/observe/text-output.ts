import { fstatSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';

export interface TextOutputOptions {
  /** More than this waits for no reader: what comes then is lost. Default: no bound, for a result that is in memory anyway. */
  readonly mostQueuedBytes?: number;
}

/**
 * Standard output or standard error, for text. A write never throws, never ends the process and never waits for a reader: the work must go on when
 * the disk under a log is full (ENOSPC), when the reader of a pipe has left (EPIPE) or sleeps, and when a terminal is gone (EIO).
 * Whoever has to know asks `failure` after `flushed`.
 *
 * Files and devices are written at once, in as many pieces as it takes: Node's own stream drops what a nearly full disk did not take. Pipes, sockets
 * and terminals are left to Node's stream, which queues what does not fit.
 */
export class TextOutput {
  readonly #fd: 1 | 2;
  readonly #mostQueuedBytes: number;
  /** Undefined for a file or a device. */
  readonly #stream: NodeJS.WriteStream | undefined;
  #failure: NodeJS.ErrnoException | undefined;
  #lost = 0;
  #isTorn = false;

  constructor(fd: 1 | 2, { mostQueuedBytes = Infinity }: TextOutputOptions = {}) {
    this.#fd = fd;
    this.#mostQueuedBytes = mostQueuedBytes;
    if (!isStream(fd)) return;
    this.#stream = fd === 1 ? process.stdout : process.stderr;
    this.#stream.on('error', (error) => this.#lose(error));
  }

  /** The first system error of a write; undefined where none failed. EPIPE: the reader left. */
  get failure(): NodeJS.ErrnoException | undefined {
    return this.#failure;
  }

  /** How many writes did not get through, as far as is known. */
  get lost(): number {
    return this.#lost;
  }

  /** @returns false where the text is lost already */
  write(text: string): boolean {
    if (this.#stream === undefined) return this.#writeNow(this.#isTorn ? `\n${text}` : text);
    if (this.#stream.writableLength > this.#mostQueuedBytes) {
      this.#lost += 1;
      return false;
    }
    // The error event reports a failure.
    this.#stream.write(text);
    return true;
  }

  /** Resolves once everything queued is written or has failed. */
  async flushed(): Promise<void> {
    const stream = this.#stream;
    if (stream !== undefined) await new Promise<void>((resolve) => void stream.write('', () => resolve()));
  }

  #writeNow(text: string): boolean {
    const bytes = Buffer.from(text);
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#fd, bytes, written);
      this.#isTorn = false;
      return true;
    } catch (error) {
      if (written > 0) this.#isTorn = true;
      this.#lose(error as NodeJS.ErrnoException);
      return false;
    }
  }

  #lose(error: NodeJS.ErrnoException): void {
    this.#failure ??= error;
    this.#lost += 1;
  }
}

/** What cannot be asked (EBADF) is written like a file, and fails like one. */
function isStream(fd: 1 | 2): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isFIFO() || stat.isSocket() || isatty(fd);
  } catch {
    return false;
  }
}
