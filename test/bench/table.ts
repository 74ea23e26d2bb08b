import type { Bench, Measurement } from './bench.ts';

/** One row of the table and of the JSON. */
export interface Row {
  readonly name: string;
  readonly what: string;
  readonly at: string;
  readonly value?: number;
  readonly unit?: string;
  readonly baseline?: { readonly what: string; readonly value: number };
  readonly ratio?: number;
  readonly target: string;
  readonly verdict: 'met' | 'NOT MET' | 'FAILED' | 'not measured';
  readonly note?: string;
}

export function rowOf({ name, what, at, ...bench }: Bench, measured: Measurement): Row {
  const target = ('target' in measured ? measured.target : undefined) ?? bench.target;
  const shared = { name, what: measured.variant === undefined ? what : `${what}, ${measured.variant}`, at, target: targetText(target) };
  if ('notMeasured' in measured) return { ...shared, verdict: 'not measured', note: measured.notMeasured };
  const { value, unit, baseline, note } = measured;
  const ratio = baseline.value === 0 ? undefined : value / baseline.value;
  if ('unit' in target && target.unit !== unit) return { ...shared, verdict: 'FAILED', note: `measured in ${unit}, while the target is in ${target.unit}` };
  const isMet = 'atMost' in target ? value <= target.atMost : (ratio ?? Infinity) <= target.timesBaseline;
  return { ...shared, value, unit, baseline, ...(ratio !== undefined && { ratio }), verdict: isMet ? 'met' : 'NOT MET', ...(note !== undefined && { note }) };
}

export function failedRow({ name, what, at, target }: Bench, message: string): Row {
  return { name, what, at, target: targetText(target), verdict: 'FAILED', note: message };
}

function targetText(target: Bench['target']): string {
  return 'atMost' in target ? `${target.atMost} ${target.unit}` : `${target.timesBaseline} × baseline`;
}

const heading = ['WHAT', 'AT', 'FIGURE', 'BASELINE', 'RATIO', 'TARGET', ''];

export function tableText(rows: readonly Row[]): string {
  const cells = rows.map(({ what, at, value, unit = '', baseline, ratio, target, verdict, note }) => [
    what, at, value === undefined ? '-' : `${shown(value)} ${unit}`,
    baseline === undefined ? '-' : `${shown(baseline.value)} ${unit} (${baseline.what})`,
    ratio === undefined ? '-' : ratio.toFixed(2), target, note === undefined ? verdict : `${verdict}: ${note}`,
  ]);
  const widths = heading.map((_, column) => Math.max(...[heading, ...cells].map((row) => row[column]?.length ?? 0)));
  return [heading, ...cells].map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ').trimEnd()}\n`).join('');
}

function shown(value: number): string {
  return value.toLocaleString('en', { maximumSignificantDigits: 4 });
}
