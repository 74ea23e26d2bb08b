import { describe, expect, it } from 'vitest';
import { OperatorError } from '../../src/errors.ts';
import type { CompiledPolicy } from '../../src/policy/compiled.ts';
import { parseCompiled, subjectOf } from '../../src/policy/compiled.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';

const compiled: CompiledPolicy = {
  formatVersion: 1,
  policy: { name: 'a3s-box', uid: 'uid-1', generation: 3 },
  accepted: true,
  mode: 'Enforce',
  schedule: { cron: '*/15 * * * *', timeZone: 'Europe/Berlin', jitterMs: 60_000 },
  caches: [{
    name: 'rootfs', format: 'a3s-rootfs', root: '/var/lib/a3s-box/home/cache/rootfs', home: '/var/lib/a3s-box/home',
    limits: { ...noLimits, maxEntries: 8, maxBytes: 0 }, protect: { ...noProtection, minIdleMs: 60_000 },
  }],
};

type Change = (policy: any) => void;

/** The text of the policy after a change to it. */
function changed(change: Change): string {
  const copy = structuredClone(compiled);
  change(copy);
  return JSON.stringify(copy);
}

function refusal(text: string): string {
  try {
    parseCompiled(text);
  } catch (error) {
    if (error instanceof OperatorError && error.code === 'ERR_POLICY_FORMAT') return error.message;
    throw error;
  }
  return 'accepted';
}

describe('a compiled policy', () => {
  it('comes back as it was written', () => {
    expect(parseCompiled(JSON.stringify(compiled))).toEqual(compiled);
  });

  it('may have no schedule and no caches', () => {
    expect(parseCompiled(changed((policy) => Object.assign(policy, { schedule: null, caches: [] })))).toMatchObject({ schedule: null, caches: [] });
  });

  it('may carry fields that this version does not know, at every level', () => {
    const text = changed((policy) => {
      policy.later = true;
      policy.policy.later = 1;
      policy.schedule.later = {};
      policy.caches[0].later = [];
      policy.caches[0].limits.later = '20%';
      policy.caches[0].protect.later = [];
    });
    expect(parseCompiled(text).caches[0]?.limits.maxEntries).toBe(8);
  });

  it('of a controller that knows neither free space nor headroom nor pins asks for none', () => {
    const text = changed((policy) => {
      for (const field of ['minFree', 'minFreeInodes', 'headroomPercent']) delete policy.caches[0].limits[field];
      delete policy.caches[0].protect.keep;
    });
    expect(parseCompiled(text)).toEqual(compiled);
  });

  it('of the version that has pins must say what they are', () => {
    const pin = { by: 'key', pattern: 'a', untilMs: 1, reason: '' };
    const withPins = (keep: unknown) => changed((policy) => {
      policy.formatVersion = 2;
      policy.caches[0].protect.keep = keep;
    });
    for (const keep of [[], [pin], [{ ...pin, untilMs: null, by: 'description' }]]) expect(parseCompiled(withPins(keep)).caches[0]?.protect.keep).toEqual(keep);
    const wrong = [undefined, null, {}, [null], [{ ...pin, by: 'name' }], [{ ...pin, pattern: '' }], [{ ...pin, untilMs: -1 }], [{ ...pin, untilMs: '2027' }], [{ ...pin, reason: null }]];
    for (const keep of wrong) expect(refusal(withPins(keep))).toBe('the compiled policy has no valid caches');
  });

  it.each(['20%', 20, {}, { percent: 100 }, { percent: '20' }, { count: -1 }, { percent: 1, count: 1 }, []])('with %j as free space to be left is refused', (amount) => {
    for (const field of ['minFree', 'minFreeInodes']) expect(refusal(changed((policy) => (policy.caches[0].limits[field] = amount)))).toBe('the compiled policy has no valid caches');
  });

  it.each([null, { percent: 0 }, { percent: 99 }, { count: 0 }])('keeps %j as free space to be left apart from anything else', (amount) => {
    expect(parseCompiled(changed((policy) => (policy.caches[0].limits.minFree = amount))).caches[0]?.limits.minFree).toEqual(amount);
  });

  it.each(['10', -1, 100, 1.5, null])('with a headroom of %s is refused', (headroom) => {
    expect(refusal(changed((policy) => (policy.caches[0].limits.headroomPercent = headroom)))).toBe('the compiled policy has no valid caches');
  });

  it.each([
    ['another number', (policy) => (policy.formatVersion = 3), 'the compiled policy has format 3; this agent reads 1 and 2'],
    ['the number as a text', (policy) => (policy.formatVersion = '1'), 'the compiled policy has format 1; this agent reads 1 and 2'],
    ['none', (policy) => delete policy.formatVersion, 'the compiled policy has format undefined; this agent reads 1 and 2'],
  ] satisfies [string, Change, string][])('of another format is refused: %s', (_, change, message) => {
    expect(refusal(changed(change))).toBe(message);
  });

  it.each(['', '{', 'accepted: true', '\0'])('that is not JSON is refused: %j', (text) => {
    expect(refusal(text)).toBe('the compiled policy is not JSON');
  });

  it.each(['null', '1', '"text"', '[]', '{}'])('that is no policy is refused: %s', (text) => {
    expect(refusal(text)).toMatch(/^the compiled policy has format undefined/);
  });

  it.each(['maxEntries', 'maxBytes', 'maxIdleMs'])('without %s is refused: what is missing is never "no limit"', (limit) => {
    expect(refusal(changed((policy) => delete policy.caches[0].limits[limit]))).toBe('the compiled policy has no valid caches');
  });

  it.each(['maxEntries', 'maxBytes', 'maxIdleMs'])('keeps a %s of zero apart from none', (limit) => {
    const limits = (value: number | null) => parseCompiled(changed((policy) => (policy.caches[0].limits[limit] = value))).caches[0]?.limits;
    expect(limits(0)).toMatchObject({ [limit]: 0 });
    expect(limits(null)).toMatchObject({ [limit]: null });
  });

  it.each(['"8"', '-1', '1.5', '9007199254740993', 'true', '[]', '{}', '1e400'])('with a limit of %s is refused', (value) => {
    const text = changed((policy) => (policy.caches[0].limits.maxEntries = 'HERE')).replace('"HERE"', value);
    expect(refusal(text)).toBe('the compiled policy has no valid caches');
  });

  it.each([
    ['policy', (policy) => delete policy.policy],
    ['policy', (policy) => delete policy.policy.uid],
    ['policy', (policy) => (policy.policy.generation = '3')],
    ['accepted', (policy) => delete policy.accepted],
    ['accepted', (policy) => (policy.accepted = 'true')],
    ['mode', (policy) => delete policy.mode],
    ['mode', (policy) => (policy.mode = 'Delete')],
    ['schedule', (policy) => delete policy.schedule],
    ['schedule', (policy) => delete policy.schedule.timeZone],
    ['schedule', (policy) => (policy.schedule.jitterMs = -1)],
    ['caches', (policy) => delete policy.caches],
    ['caches', (policy) => (policy.caches = { length: 0 })],
    ['caches', (policy) => (policy.caches = [null])],
    ['caches', (policy) => (policy.caches = ['rootfs'])],
    ['caches', (policy) => delete policy.caches[0].name],
    ['caches', (policy) => delete policy.caches[0].root],
    ['caches', (policy) => (policy.caches[0].home = '')],
    ['caches', (policy) => (policy.caches[0].format = 'tar')],
    ['caches', (policy) => (policy.caches[0].format = 'constructor')],
    ['caches', (policy) => delete policy.caches[0].limits],
    ['caches', (policy) => delete policy.caches[0].protect],
    ['caches', (policy) => delete policy.caches[0].protect.minIdleMs],
    ['caches', (policy) => (policy.caches[0].protect.minIdleMs = null)],
  ] satisfies [string, Change][])('without a valid %s is refused (case %#)', (field, change) => {
    expect(refusal(changed(change))).toBe(`the compiled policy has no valid ${field}`);
  });
});

describe('a compiled policy that cannot be read', () => {
  it.each([
    ['of another format', (policy) => Object.assign(policy, { formatVersion: 2, caches: 'otherwise' })],
    ['that lacks what it must have', (policy) => delete policy.caches],
  ] satisfies [string, Change][])('still says whose it is: one %s', (_, change) => {
    expect(subjectOf(changed(change))).toEqual({ name: 'a3s-box', uid: 'uid-1', generation: 3 });
  });

  it.each(['', '{', 'null', '1', '[]', '{}', '{"policy":{"name":"a3s-box","uid":"uid-1"}}', '{"policy":null}'])('may be nobody\'s: %j', (text) => {
    expect(subjectOf(text)).toBeUndefined();
  });
});
