import { describe, expect, it } from 'vitest';
import { bar, printable, table, entryTable, shortened } from '../../src/cli/table.ts';

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

describe('a name as long as a file name may be', () => {
  it('leaves its two ends in a table', () => {
    const name = `${'a'.repeat(200)}-v1.0.safetensors`;
    expect(shortened(name)).toBe(`${'a'.repeat(51)}…${name.slice(-20)}`);
    expect(shortened('a'.repeat(72))).toBe('a'.repeat(72));
  });
});

describe('a table of entries', () => {
  const heading = ['KEY', 'DESCRIPTION', 'SIZE'];

  it('has no DESCRIPTION where it only repeats the KEY', () => {
    expect(entryTable(heading, [['a', 'a', '1'], ['odd', '-', '-']])).toBe('KEY   SIZE\na     1\nodd   -\n');
  });

  it('has one where any says more, and where no entry has one', () => {
    expect(entryTable(heading, [['a', 'a', '1'], ['b', 'image', '2']])).toContain('DESCRIPTION');
    expect(entryTable(heading, [['a', '-', '1']])).toContain('DESCRIPTION');
  });
});
