import { describe, expect, it } from 'vitest';
import { nameText } from '../../src/disk/name-text.ts';

describe('the text of a file name', () => {
  it.each([
    ['model.gguf', 'model.gguf'],
    ['modèle 模型 🦙', 'modèle 模型 🦙'],
    ['\ufffd', '\ufffd'],
  ])('that is UTF-8 is itself: %s', (name, text) => {
    expect(nameText(Buffer.from(name))).toBe(text);
  });

  it.each<[string, readonly number[], string]>([
    ['a byte that begins no character', [0x61, 0xff, 0x62], 'a\\xffb'],
    ['a character that is cut off', [0x61, 0xe6, 0xa8], 'a\\xe6\\xa8'],
    ['a surrogate', [0xed, 0xa0, 0x80], '\\xed\\xa0\\x80'],
    ['characters around it', [0xc3, 0xa9, 0xfe, 0xc3, 0xa9], 'é\\xfeé'],
  ])('shows %s as its bytes', (_, bytes, text) => {
    expect(nameText(Uint8Array.from(bytes))).toBe(text);
  });

  it('of two names that are no UTF-8 is not the same', () => {
    expect(nameText(Uint8Array.from([0xff]))).not.toBe(nameText(Uint8Array.from([0xfe])));
  });
});
