import type { Io } from './io.ts';
import { bar, pad, printable } from './table.ts';

/** On a terminal one line that is drawn over; elsewhere a line whenever the step changes. Redrawn at most this often. */
const redrawMs = 80;

/** Says on standard error what a long command is doing. Must be ended, so that no half line stays. */
export class ProgressLine implements Disposable {
  readonly #io: Io;
  #step = '';
  #drawnAtMs = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  /** @param step what is being done, the same words as long as it lasts; @param ratio how far it is, 0 to 1, where that is known */
  show(step: string, ratio?: number): void {
    const isNew = step !== this.#step;
    this.#step = step;
    if (!this.#io.errIsTerminal) {
      if (isNew) this.#io.err(`${printable(step)}\n`);
      return;
    }
    const nowMs = performance.now();
    if (!isNew && nowMs - this.#drawnAtMs < redrawMs) return;
    this.#drawnAtMs = nowMs;
    const drawn = ratio === undefined ? '' : `${bar(ratio)} ${pad(`${Math.round(ratio * 100)}%`, 4)} `;
    this.#io.err(`\r\x1b[K${drawn}${printable(step)}`);
  }

  clear(): void {
    if (this.#io.errIsTerminal && this.#step !== '') this.#io.err('\r\x1b[K');
    this.#step = '';
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
