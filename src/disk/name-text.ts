import { isUtf8 } from 'node:buffer';

/**
 * A file name for people. A name that is no UTF-8 has its foreign bytes as `\xff`, so that two such names can be told apart;
 * that text leads back to no file, and may be another file's name.
 */
export function nameText(bytes: Uint8Array): string {
  if (isUtf8(bytes)) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = characterAt(bytes, at);
    text += length === 0 ? `\\x${bytes[at]?.toString(16).padStart(2, '0')}` : Buffer.from(bytes.subarray(at, at + length)).toString();
    at += Math.max(1, length);
  }
  return text;
}

/** How many bytes the UTF-8 character has that begins here; 0 where none does. */
function characterAt(bytes: Uint8Array, at: number): number {
  return [1, 2, 3, 4].find((length) => at + length <= bytes.length && isUtf8(bytes.subarray(at, at + length))) ?? 0;
}
