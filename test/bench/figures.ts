/** What `make bench` measures: each figure with the baseline it is held against, from the same run. */
export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** At most this; a figure over it fails the bench. */
  readonly target: number;
  readonly baseline: { readonly what: string; readonly value: number };
}

/** Prints the table, and says what is over its target. @returns true where every target holds */
export function report(figures: readonly Figure[]): boolean {
  const rows = figures.map(({ what, value, unit, target, baseline }) => [
    what, `${round(value)} ${unit}`, `${target} ${unit}`, `${round(baseline.value)} ${unit} (${baseline.what})`, value <= target ? 'holds' : 'OVER',
  ]);
  const header = ['WHAT', 'MEASURED', 'TARGET', 'BASELINE', ''];
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map((row) => row[column]?.length ?? 0)));
  for (const row of [header, ...rows]) console.log(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ').trimEnd());
  return figures.every(({ value, target }) => value <= target);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
