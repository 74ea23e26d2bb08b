import { describe, expect, it } from 'vitest';
import { NoRoomToBegin } from '../../src/cache/first-space.ts';
import { holdsProblem, problemOf } from '../../src/agent/problems.ts';
import { OperatorError } from '../../src/errors.ts';
import type { PassError, PassReport } from '../../src/cache/report.ts';

function problemWith(...errors: PassError[]) {
  return holdsProblem({ errors } as unknown as PassReport);
}

describe('the problem of a cache that is a known layout', () => {
  const refused = new OperatorError('ERR_ROOT_KNOWN_LAYOUT', '/c is a hub: name /c/hub');

  it('says that it was governed before, where entries were evicted there', () => {
    expect(problemOf(refused, 7)).toEqual({ reason: 'RootKnownLayout', message: '/c is a hub: name /c/hub; until now it was governed as a directory of entries, and 7 were evicted: check it with its own tool' });
    expect(problemOf(refused)).toEqual({ reason: 'RootKnownLayout', message: '/c is a hub: name /c/hub' });
  });
});

describe('the problem of a cache of which it is unknown what is in use', () => {
  it('is none while it is known', () => {
    expect(problemWith()).toBeUndefined();
    expect(problemWith({ code: 'ERR_DISK_IO', message: 'cannot remove /c/a', entry: 'a' })).toBeUndefined();
  });

  it('says what is in the way where that is a file of the runtime', () => {
    expect(problemWith({ code: 'ERR_HOLDS_UNREADABLE', message: 'the marker of box b is no key' })).toEqual({ reason: 'HoldsUnreadable', message: 'the marker of box b is no key' });
  });

  it('counts the entries that cannot be asked, and names none of them', () => {
    const error = (entry: string): PassError => ({ code: 'ERR_HOLDS_UNREADABLE', message: `cannot ask whether /c/${entry}/weights is open`, entry });
    const { message } = problemWith(error('secret-model'), error('other')) ?? expect.unreachable();
    expect(message).toMatch(/^of 2 entries it cannot be told/);
    expect(message).not.toContain('secret');
  });
});

describe('the problem of a cache that has no room to begin', () => {
  it('names no entry, which the agent logs', () => {
    const error = new NoRoomToBegin('/c', '/c/secret-model');
    expect(error.message).toMatch(/; delete \/c\/secret-model$/);
    expect(problemOf(error)).toEqual({ reason: 'NoRoomToBegin', message: expect.stringMatching(/^nothing can be made in \/c: no space is left.*; the agent's log names a file to delete$/) as string });
  });
});
