import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorKinds, errnoOf, messageOf, OperatorError } from '../src/errors.ts';

const owners = { user: 'the author of the policy or command', system: 'the owner of the machine or cluster', bug: 'us' };

/** What docs/errors.md says of each code. */
function documented(): Record<string, { meaning: string; owner: string; retry: string; hint: string }> {
  const text = readFileSync(join(import.meta.dirname, '../docs/errors.md'), 'utf8');
  const sections = text.matchAll(/^## (\w+)\n(.+)\n\n- Can mend it: (.+)\n- The same again may succeed: (.+)\n- What to do: (.+)$/gm);
  return Object.fromEntries([...sections].map(([, code = '', meaning = '', owner = '', retry = '', hint = '']) => [code, { meaning, owner, retry, hint }]));
}

describe('docs/errors.md', () => {
  it('explains every code, and no other', () => {
    expect(Object.keys(documented()).toSorted()).toEqual(Object.keys(errorKinds).toSorted());
  });

  it.each(Object.entries(errorKinds))('says of %s what the code says', (code, { audience, retry, hint }) => {
    expect(documented()[code]).toMatchObject({ owner: owners[audience], retry: retry ? 'yes' : 'no', hint });
  });
});

describe('an error', () => {
  it('knows who can mend it, whether to try again, and what to do', () => {
    const error = new OperatorError('ERR_LOCK_BUSY', 'the lock of /c is taken', { cause: 'x' });
    expect(error).toMatchObject({ code: 'ERR_LOCK_BUSY', audience: 'system', retry: true, message: 'the lock of /c is taken', cause: 'x' });
    expect(error.hint).toContain('wait for it to end');
  });

  it('of the system has an errno; one of ours has none', () => {
    expect(errnoOf(Object.assign(new Error('x'), { code: 'ENOENT' }))).toBe('ENOENT');
    for (const other of [new OperatorError('ERR_BUG', 'x'), new Error('x'), { code: 5 }, null, undefined, 'ENOENT']) expect(errnoOf(other)).toBeUndefined();
  });

  it('is one line whatever was thrown', () => {
    expect([messageOf(new Error('a')), messageOf('b'), messageOf(undefined)]).toEqual(['a', 'b', 'undefined']);
  });
});
