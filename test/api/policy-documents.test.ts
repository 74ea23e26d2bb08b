import { describe, expect, it } from 'vitest';
import { parsePolicyDocuments } from '../../src/api/policy-documents.ts';
import { formatPath, parsePath } from '../../src/api/problem.ts';

function only(text: string) {
  const { documents, problems } = parsePolicyDocuments(text);
  expect(problems).toEqual([]);
  expect(documents).toHaveLength(1);
  return documents[0]!;
}

describe('a text of policies', () => {
  it('holds any number of documents; empty ones do not count', () => {
    const { documents } = parsePolicyDocuments('---\na: 1\n---\n# nothing\n---\nb: 2\n...\n');
    expect(documents.map(({ value }) => value)).toEqual([{ a: 1 }, { b: 2 }]);
    expect(parsePolicyDocuments('')).toEqual({ documents: [], problems: [] });
    expect(parsePolicyDocuments('---\n---\n# only comments\n')).toEqual({ documents: [], problems: [] });
  });

  it.each(['List', 'CachePolicyList'])('a %s is the objects in it, each with the lines of its own fields', (kind) => {
    const { documents } = parsePolicyDocuments(`apiVersion: v1\nkind: ${kind}\nitems:\n- spec:\n    a: 1\n- spec:\n    b: 2\nmetadata: {}\n---\nkind: CachePolicy\n`);
    expect(documents.map(({ value }) => value)).toEqual([{ spec: { a: 1 } }, { spec: { b: 2 } }, { kind: 'CachePolicy' }]);
    expect(documents.map(({ lineOf }) => lineOf(['spec', 'b']))).toEqual([4, 7, 10]);
  });

  it('an empty list holds nothing, and a list of another shape is an object like any other', () => {
    expect(parsePolicyDocuments('kind: List\nitems: []\n').documents).toEqual([]);
    expect(only('kind: List\nitems: {a: 1}\n').value).toEqual({ kind: 'List', items: { a: 1 } });
    expect(only('kind: CachePolicy\nitems: [1]\n').value).toEqual({ kind: 'CachePolicy', items: [1] });
  });

  it('may be JSON', () => {
    expect(only('{"kind": "CachePolicy", "spec": {"caches": []}}').value).toEqual({ kind: 'CachePolicy', spec: { caches: [] } });
  });

  it('is read as kubectl reads it: YAML 1.1, but no dates and no numbers in base 60', () => {
    expect(only('a: 010\nb: yes\nc: 1_000\nd: 2026-01-01\ne: 12:30:45\nf: 1e3\n').value).toEqual({ a: 8, b: true, c: 1000, d: '2026-01-01', e: '12:30:45', f: 1000 });
  });

  it('is told where it is no YAML, with the line', () => {
    expect(parsePolicyDocuments('a: 1\nb: [1,\n').problems).toMatchObject([{ message: expect.stringContaining('this is not YAML') as string }]);
    expect(parsePolicyDocuments('a: 1\n\tb: 2\n').problems[0]?.line).toBe(2);
    expect(parsePolicyDocuments('a: 1\na: 2\n').problems).toMatchObject([{ line: 2, message: 'this is not YAML: Map keys must be unique' }]);
  });

  it('cannot blow up by aliases', () => {
    const bomb = ['a0: &a0 [x, x]', ...Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`)].join('\n');
    expect(parsePolicyDocuments(bomb).problems).toMatchObject([{ message: expect.stringContaining('this is not YAML') as string }]);
  });

  it('gives a key named __proto__ no power', () => {
    const value = only('__proto__: {mode: DryRun}\n').value as Record<string, unknown>;
    expect(Object.keys(value)).toEqual(['__proto__']);
    expect(value['mode']).toBeUndefined();
  });
});

describe('the line of a field', () => {
  const text = ['# a comment', 'metadata:', '  name: x', 'spec:', '  caches:', '  - name: a', '    limits: {maxEntries: 1,', '      maxBytes: 2}', '  - name: b', ''].join('\n');

  it.each([
    ['metadata.name', 3], ['spec', 4], ['spec.caches[0]', 6], ['spec.caches[0].limits.maxEntries', 7], ['spec.caches[0].limits.maxBytes', 8], ['spec.caches[1].name', 9],
  ])('%s is %d', (path, line) => {
    expect(only(text).lineOf(parsePath(path))).toBe(line);
  });

  it('that does not stand there is the line of what is around it', () => {
    expect(only(text).lineOf(['spec', 'caches', 1, 'limits'])).toBe(9);
    expect(only(text).lineOf(['spec', 'caches', 7])).toBe(5);
    expect(only(text).lineOf([])).toBe(2);
  });

  it('counts on through several documents', () => {
    const { documents } = parsePolicyDocuments('a: 1\n---\nb: 1\n---\nc:\n  d: 1\n');
    expect(documents.map(({ lineOf }) => [lineOf(['a']), lineOf(['b']), lineOf(['c', 'd'])])).toEqual([[1, 1, 1], [3, 3, 3], [5, 5, 6]]);
  });

  it('behind an alias is where it was written', () => {
    expect(only('a: &x {num: 1}\nb: *x\n').lineOf(['b', 'num'])).toBe(1);
  });
});

describe('a field’s path', () => {
  it.each([
    [['spec', 'caches', 0, 'limits', 'maxBytes'], 'spec.caches[0].limits.maxBytes'],
    [['spec', 'nodeSelector', 'a3s-box.io/runtime'], 'spec.nodeSelector["a3s-box.io/runtime"]'],
    [['spec', 'a"b]'], 'spec["a\\"b]"]'],
    [[], ''],
  ])('%j is written %s, and read back', (path, text) => {
    expect(formatPath(path)).toBe(text);
    expect(parsePath(text)).toEqual(path);
  });
});
