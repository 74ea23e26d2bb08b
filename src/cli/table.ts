/** Text for people: columns as kubectl aligns them, and bars. */

const columnGap = '   ';

/** Left-aligned columns under a heading, no wider than they need be; the last column is not padded. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[], indent = ''): string {
  const all = [heading, ...rows].map((row) => row.map(printable));
  const widths = heading.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? ''))));
  return all.map((row) => `${indent}${row.map((cell, i) => pad(cell, i === row.length - 1 ? 0 : (widths[i] ?? 0))).join(columnGap)}\n`).join('');
}

/** `████████▌ 43%` in 20 cells; what is over the limit fills them all. */
export function bar(ratio: number): string {
  const cells = 20;
  const eighths = Math.round(Math.min(1, Math.max(0, ratio)) * cells * 8);
  // Something that is there is never drawn as nothing.
  const filled = ratio > 0 ? Math.max(1, eighths) : 0;
  return (('█'.repeat(Math.floor(filled / 8)) + ' ▏▎▍▌▋▊▉'.charAt(filled % 8)).trimEnd()).padEnd(cells);
}

/** Text from disk or from a file, as it may stand on a terminal: no line breaks, no control characters that the terminal would obey. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => shortEscapes[char] ?? `\\u${char.codePointAt(0)?.toString(16).padStart(4, '0')}`);
}

const shortEscapes: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

export function pad(text: string, to: number): string {
  return text + ' '.repeat(Math.max(0, to - width(text)));
}

function width(text: string): number {
  return [...text].length;
}

/** `1 entry`, `2 entries` */
export function count(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? one : many}`;
}
