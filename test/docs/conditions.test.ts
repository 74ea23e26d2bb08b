import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { conditionReasons } from '../../src/api/conditions.ts';
import { errorKinds } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { problemReason } from '../../src/policy/node-report.ts';

const root = join(import.meta.dirname, '../..');

/** The rows of the tables of docs/conditions.md by their section: cells without the backquotes. */
function documented(): ReadonlyMap<string, readonly (readonly string[])[]> {
  const [, ...sections] = readFileSync(join(root, 'docs/conditions.md'), 'utf8').split(/^## /m);
  return new Map(sections.map((section) => {
    const rows = [...section.matchAll(/^\| `(.+) \|$/gm)].map(([, row = '']) => row.replace('`', '').split(' | '));
    return [section.slice(0, section.indexOf('\n')), rows];
  }));
}

const problems = 'The problem of a cache';
const sections = documented();
const rows = [...sections].flatMap(([type, each]) => (type === problems ? [] : each.map((row) => [type, ...row] as const)));

describe('docs/conditions.md', () => {
  it('has a section for every condition, in the order of the table, and no other', () => {
    expect([...sections.keys()]).toEqual([...Object.keys(conditionReasons), problems]);
  });

  it.each(Object.entries(conditionReasons))('explains every reason of %s, and no other', (type, reasons) => {
    expect(sections.get(type)?.map(([reason]) => reason).toSorted()).toEqual([...reasons].toSorted());
  });

  it.each(rows)('says of %s %s whose it is, when it is so, and what to do', (type, reason, status, owner, when, what) => {
    expect(['CachePolicy', 'NodeCache', 'CachePolicy, NodeCache']).toContain(owner);
    for (const sentence of [when, what]) expect(sentence).toMatch(/^[A-Z`].*\.$/);
    const onlyWhileTrue = ['Degraded', 'LimitUnreachable', 'Stale'].includes(type);
    expect(status).toBe(onlyWhileTrue || reason === type ? 'True' : reason === 'NoMatchingNode' ? 'Unknown' : 'False');
  });

  it('explains no reason that is never given', () => {
    const sources = globSync('src/{policy,controller}/*.ts', { cwd: root }).map((path) => readFileSync(join(root, path), 'utf8')).join();
    for (const [type, reason = ''] of rows) expect(sources, `${type} ${reason}`).toContain(`'${reason}'`);
  });

  it('explains every problem that a cache can have, and no other', () => {
    // What concerns one entry, the input or the API server never makes a cache fail.
    const codes = (Object.keys(errorKinds) as ErrorCode[]).filter((code) => /^ERR_(ROOT|PATH|HOLDS|LOCK|DISK|NO_ROOM|BUG)/.test(code));
    expect(sections.get(problems)?.map(([reason]) => reason).toSorted()).toEqual(codes.map(problemReason).toSorted());
    for (const row of sections.get(problems) ?? []) expect(row).toHaveLength(3);
  });
});
