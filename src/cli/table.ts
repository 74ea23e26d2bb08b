/** Text for people: columns as kubectl aligns them, and bars. */

const columnGap = '   ';

/** Left-aligned columns under a heading, no wider than they need be; the last column is not padded. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[], indent = ''): string {
  const all = [heading, ...rows].map((row) => row.map(printable));
  const widths = heading.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? ''))));
  return all.map((row) => `${indent}${row.map((cell, i) => pad(cell, i === row.length - 1 ? 0 : (widths[i] ?? 0))).join(columnGap)}\n`).join('');
}

/** The same for entries, without their DESCRIPTION where it only repeats the KEY, as in a directory cache. */
export function entryTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const [key, description] = [heading.indexOf('KEY'), heading.indexOf('DESCRIPTION')];
  const repeats = rows.some((row) => row[description] === row[key]) && rows.every((row) => row[description] === row[key] || row[description] === '-');
  return repeats ? table(heading.toSpliced(description, 1), rows.map((row) => row.toSpliced(description, 1))) : table(heading, rows);
}

/** The beginning and the end of a text that would make a table too wide. `-o wide` and JSON have it whole. */
export function shortened(text: string): string {
  const characters = [...text];
  return characters.length <= mostCharacters ? text : `${characters.slice(0, mostCharacters - 21).join('')}…${characters.slice(-20).join('')}`;
}
/** As wide as the longest image names; a file name may have 255 bytes. */
const mostCharacters = 72;

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
