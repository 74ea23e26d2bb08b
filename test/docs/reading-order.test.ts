import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/reading-order.md'), 'utf8');
const quoted = [...page.matchAll(/`([^`]+)`/g)].map(([, text = '']) => text);

describe('docs/reading-order.md', () => {
  it('names between six and eight files to read first, each with a link', () => {
    const first = [...page.slice(0, page.indexOf('\n## ')).matchAll(/^\d\. \[`(.+)`\]\(\.\.\/(.+)\):/gm)];
    expect(first.length).toBeGreaterThanOrEqual(6);
    expect(first.length).toBeLessThanOrEqual(8);
    for (const [, name, target] of first) expect(target).toBe(name);
  });

  it.each(quoted.filter((text) => /^[\w-]+\/[\w./-]*$/.test(text)))('names %s, which exists', (path) => {
    expect(existsSync(join(root, path)) || existsSync(join(root, 'src', path)), path).toBe(true);
  });

  it('names functions and classes as the code does', () => {
    const words = new Set(globSync('src/**/*.ts', { cwd: root }).flatMap((path) => readFileSync(join(root, path), 'utf8').match(/\w+/g) ?? []));
    const names = quoted.filter((text) => /^[A-Za-z]+(\.[a-z][A-Za-z]*)?$/.test(text)).flatMap((text) => text.split('.'));
    expect(names).toContain('nextAct');
    expect(names.filter((name) => !words.has(name))).toEqual([]);
  });

  it('fits on one page', () => {
    expect(page.split('\n').length).toBeLessThanOrEqual(60);
  });
});
