import { expect, it } from 'vitest';
import { Complaints } from '../../src/agent/pass-log.ts';

it('tells what every pass meets once, and again after a pass that did not meet it', () => {
  const complaints = new Complaints();
  const [one, other] = [{ code: 'ERR_HOLDS_UNREADABLE', message: 'no', entry: 'a' }, { code: 'ERR_HOLDS_UNREADABLE', message: 'no', entry: 'b' }] as const;
  expect(complaints.newIn([one])).toEqual([one]);
  expect(complaints.newIn([one, other])).toEqual([other]);
  expect(complaints.newIn([other])).toEqual([]);
  expect(complaints.newIn([one, other])).toEqual([one]);
});
