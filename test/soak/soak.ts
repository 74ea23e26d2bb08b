import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fse from 'fs-extra';

/** One figure of a soak, and whether it is as it must be. */
export interface SoakFigure {
  readonly what: string;
  readonly value: number | string;
  /** What it must be, for people: `0`, `≥ 4000`. Empty for a figure that only informs. */
  readonly wanted: string;
  readonly holds: boolean;
}

export interface SoakContext {
  /** Everything random in a soak comes from it. */
  readonly seed: number;
  /** 1 for the full number of rounds; less to try a soak out. */
  readonly scale: number;
  /** One line that says how far it is. */
  readonly progress: (text: string) => void;
}

/** A test that runs for minutes. One file each, and a line in registry.ts. Throws where it cannot go on; cleans up either way. */
export interface Soak {
  readonly name: string;
  readonly about: string;
  readonly run: (context: SoakContext) => Promise<readonly SoakFigure[]>;
}

export function exactly(what: string, value: number, wanted: number): SoakFigure {
  return { what, value, wanted: `${wanted}`, holds: value === wanted };
}

export function atLeast(what: string, value: number, wanted: number): SoakFigure {
  return { what, value, wanted: `≥ ${wanted}`, holds: value >= wanted };
}

export function atMost(what: string, value: number, wanted: number): SoakFigure {
  return { what, value: Math.round(value), wanted: `≤ ${wanted}`, holds: value <= wanted };
}

export function told(what: string, value: number | string): SoakFigure {
  return { what, value, wanted: '', holds: true };
}

/** Random numbers that a seed brings back (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 up to, not including, `below`. */
  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  between(least: number, most: number): number {
    return least + this.next() * (most - least);
  }

  chance(share: number): boolean {
    return this.next() < share;
  }
}

/** An empty directory that goes with its scope. */
export class TemporaryDir implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'cachepolicy-soak-'));

  [Symbol.dispose](): void {
    fse.removeSync(this.path);
  }
}
