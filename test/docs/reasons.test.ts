import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { evictReasons, keepReasons } from '../../src/policy/reasons.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/reasons.md'), 'utf8');

/** The rows of a section's table: reason, when, what to do. */
function documented(section: string): string[][] {
  const text = page.split(/^## /m).find((each) => each.startsWith(`${section}\n`)) ?? '';
  return [...text.matchAll(/^\| `(\w+)` \| (.+) \| (.+) \|$/gm)].map(([, ...cells]) => cells);
}

describe('docs/reasons.md', () => {
  it.each([['To stay', keepReasons], ['To go', evictReasons]] as const)('explains every reason %s, in the order in which they are given, and no other', (section, reasons) => {
    expect(documented(section).map(([reason]) => reason)).toEqual(reasons);
  });

  it('says of each when it is so and what to do, in sentences', () => {
    for (const [reason, ...sentences] of [...documented('To stay'), ...documented('To go')]) {
      for (const sentence of sentences) expect(sentence, reason).toMatch(/^[A-Z`].*\.$/);
    }
  });
});
