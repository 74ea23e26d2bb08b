/** What the frame of `make bench` and its benches agree upon. */

/** One line of the registry: a thing that is measured, and what it is held against. */
export interface Bench {
  /** For `make bench ONLY=name`. */
  readonly name: string;
  readonly what: string;
  /** The scale: `100,000 entries`. */
  readonly at: string;
  readonly target: Target;
  /** Runs in a process of its own. The module is loaded only there. */
  readonly measure: () => Promise<readonly Measurement[]>;
  /** With the agent's flags (no optimising compiler, a small heap), as one bundle. By default as the command line runs. */
  readonly asAgent?: boolean;
}

export type Target = { readonly atMost: number; readonly unit: Unit } | { readonly timesBaseline: number };

export type Unit = 'ms' | 's' | 'MiB' | '% of a core' | 'files';

export type Measurement = Figure | NotMeasured;

/** A value and, from the same run, what it is compared with. */
export interface Figure {
  /** Which of several: `ext4`. */
  readonly variant?: string;
  readonly value: number;
  readonly unit: Unit;
  readonly baseline: { readonly what: string; readonly value: number };
  /** In place of the line's own, where one run measures several things. */
  readonly target?: Target;
  /** Whatever a reader has to know: spread, counts. */
  readonly note?: string;
}

export interface NotMeasured {
  readonly variant?: string;
  /** Why it cannot be measured on this machine. */
  readonly notMeasured: string;
}

/** The long version of what has one. */
export const full = process.env['BENCH_FULL'] === '1';

/** Which of sorted or unsorted values `part` of them do not exceed: 0.5 is the median. @throws RangeError where there are none */
export function quantile(values: readonly number[], part: number): number {
  const value = values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))];
  if (value === undefined) throw new RangeError('no values');
  return value;
}
