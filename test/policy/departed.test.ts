import { describe, expect, it } from 'vitest';
import type { Leaving, Present } from '../../src/policy/departed.ts';
import { nextDeparted } from '../../src/policy/departed.ts';

const leaving = (nodeName: string, but: Partial<Leaving> = {}): Leaving => ({ nodeName, uid: `uid-${nodeName}`, resourceVersion: '1', evictedEntries: 2, evictedBytes: 20, ...but });
/** The reports that are there. */
const reports = (...all: readonly Leaving[]) => (nodeName: string): Present => all.find((each) => each.nodeName === nodeName);

describe('the account of departed nodes', () => {
  it('names a report before it is removed, and counts it by itself until then', () => {
    expect(nextDeparted(undefined, reports(leaving('a')), [leaving('a')], 50)).toEqual({ departed: { evictedEntries: 0, evictedBytes: 0, leaving: [leaving('a')] }, more: false });
  });

  it('keeps a report named while that version is there: its removal may be on its way', () => {
    const before = { evictedEntries: 1, evictedBytes: 10, leaving: [leaving('a')] };
    expect(nextDeparted(before, reports(leaving('a')), [], 50).departed).toEqual(before);
  });

  it.each([
    ['is gone', reports()],
    ['was made again under its name', reports(leaving('a', { uid: 'another', evictedEntries: 0 }))],
  ])('adds what a named report had evicted once it %s, and once only', (_, present) => {
    const after = nextDeparted({ evictedEntries: 1, evictedBytes: 10, leaving: [leaving('a')] }, present, [], 50).departed;
    expect(after).toEqual({ evictedEntries: 3, evictedBytes: 30 });
    expect(nextDeparted(after, present, [], 50).departed).toEqual(after);
  });

  it('names a later version of a report anew, with what that one says', () => {
    const later = leaving('a', { resourceVersion: '2', evictedEntries: 9 });
    expect(nextDeparted({ leaving: [leaving('a')] }, reports(later), [], 50).departed).toEqual({ evictedEntries: 0, evictedBytes: 0 });
    expect(nextDeparted({ leaving: [leaving('a')] }, reports(later), [later], 50).departed.leaving).toEqual([later]);
  });

  it('names no more than a bounded number at a time, the earlier ones first', () => {
    const all = Array.from({ length: 5 }, (_, index) => leaving(`n${index}`));
    const next = nextDeparted({ leaving: [leaving('n3')] }, reports(...all), all, 3);
    expect(next.departed.leaving?.map(({ nodeName }) => nodeName)).toEqual(['n3', 'n0', 'n1']);
    expect(next.more).toBe(true);
    expect(nextDeparted(next.departed, reports(...all), next.departed.leaving as Leaving[], 3).more).toBe(false);
  });
});
