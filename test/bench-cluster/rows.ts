/** One line of the table. A value over its target fails the bench. */
export interface Row {
  readonly what: string;
  readonly at: string;
  readonly value: number;
  readonly unit: string;
  readonly target: number;
  /** What else was seen: medians, highest values, counts. */
  readonly seen?: Readonly<Record<string, number | string>>;
}

export function holds({ value, target }: Row): boolean {
  return value <= target;
}

export function table(rows: readonly Row[]): string {
  const seenOf = ({ seen = {} }: Row) => Object.entries(seen).map(([name, value]) => `${name} ${typeof value === 'number' ? round(value) : value}`).join(', ');
  const lines = [
    ['WHAT', 'AT', 'MEASURED', 'TARGET', '', 'SEEN'],
    ...rows.map((row) => [row.what, row.at, `${round(row.value)} ${row.unit}`, `${row.target} ${row.unit}`, holds(row) ? 'holds' : 'OVER', seenOf(row)]),
  ];
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  return lines.map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd()).join('\n');
}

/** The value that this share of all stays at or below. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}

function round(value: number): number {
  return value >= 100 ? Math.round(value) : Math.round(value * 100) / 100;
}
