import { describe, expect, it } from 'vitest';
import { bar, printable, table } from '../../src/cli/table.ts';

describe('a table', () => {
  it('is aligned, with nothing behind the last column', () => {
    expect(table(['KEY', 'SIZE', 'REASON'], [['a', '1.5Ki', 'x'], ['longer', '0', 'a longer one']])).toBe(
      'KEY      SIZE    REASON\n' +
      'a        1.5Ki   x\n' +
      'longer   0       a longer one\n',
    );
  });

  it('counts characters, not bytes', () => {
    expect(table(['A', 'B'], [['äöü', 'x'], ['a', 'y']])).toBe('A     B\näöü   x\na     y\n');
  });

  it('keeps an entry on one line, whatever its name', () => {
    expect(table(['A', 'B'], [['evil\nname', '\x1b[31mred']])).toBe('A            B\nevil\\nname   \\u001b[31mred\n');
  });
});

describe('text from disk', () => {
  it.each([
    ['plain ünïcode 漢字 🙂', 'plain ünïcode 漢字 🙂'],
    ['a\tb\nc', 'a\\tb\\nc'],
    ['\x07\x7f\x9b', '\\u0007\\u007f\\u009b'],
    ['\u202egnp.exe', '\\u202egnp.exe'],
    ['a\u2028b', 'a\\u2028b'],
  ])(
    'shows %j as %s', (text, shown) => {
      expect(printable(text)).toBe(shown);
    });
});

describe('a bar', () => {
  it.each([
    [0, '                    '],
    [0.0001, '▏                   '],
    [0.5, '██████████          '],
    [0.99, '███████████████████▊'],
    [1, '████████████████████'],
    [2, '████████████████████'],
    [Infinity, '████████████████████'],
  ])('of %d is %j', (ratio, drawn) => {
    expect(bar(ratio)).toBe(drawn);
    expect([...bar(ratio)]).toHaveLength(20);
  });
});
