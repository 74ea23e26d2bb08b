import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { validatePolicy } from '../../src/api/validate.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { desiredChildren } from '../../src/controller/children.ts';
import { parseCompiled } from '../../src/policy/compiled.ts';
import { nextRun } from '../../src/policy/schedule.ts';
import { admitAlone } from '../controller/admit-alone.ts';
import { aPolicy, allowedRoots } from '../controller/builders.ts';
import type { Spec } from './variants.ts';
import { specVariants } from './variants.ts';

const { spec: base } = aPolicy();
const variants = specVariants(base);
const pairs = 400;

/** As the API server would serve it, with defaults; undefined where it would refuse it. */
function served(spec: Spec): PolicyObject | undefined {
  return validatePolicy({ ...aPolicy(), spec: structuredClone(spec) }).policy as PolicyObject | undefined;
}

/** What the operator makes of a policy that the API server took: never an error, and nothing that an agent cannot read and follow. */
async function made(policy: PolicyObject): Promise<{ accepted: string; children: string }> {
  const now = Date.UTC(2026, 10, 23);
  const admission = await admitAlone(policy, allowedRoots, now);
  const text = JSON.stringify(admission.compiled);
  const compiled = parseCompiled(text);
  expect(compiled).toEqual(admission.compiled);
  expect(compiled.accepted).toBe(admission.accepted.status === 'True');
  expect(compiled.caches.map(({ name }) => name)).toEqual(policy.spec.caches.map(({ name }) => name));
  if (compiled.schedule) expect(nextRun(compiled.schedule, 'node-1', now)).toBeGreaterThan(now);
  const children = desiredChildren({ policy, compiled, rootsInUse: admission.rootsInUse, namespace: 'cachepolicy-system', image: 'image:1' });
  return { accepted: `${admission.accepted.status} ${admission.accepted.reason}`, children: JSON.stringify(children) };
}

describe('a spec that the API server takes', () => {
  const taken = variants.flatMap((variant) => {
    const policy = served(variant.applyTo(base));
    return policy === undefined ? [] : [{ ...variant, policy }];
  });

  it('is known for every field', () => {
    const fields = new Set(variants.map(({ field }) => field));
    expect(fields.size).toBeGreaterThan(25);
    expect([...fields].filter((field) => !taken.some((variant) => variant.field === field))).toEqual([]);
  });

  it('can be carried out at every bound of every field, or says why not in Accepted', async () => {
    const outcomes = new Map<string, number>();
    for (const { field, value, policy } of taken) {
      const { accepted } = await made(policy).catch((error: unknown) => Promise.reject(new Error(`${field}: ${JSON.stringify(value)}`, { cause: error })));
      outcomes.set(accepted, (outcomes.get(accepted) ?? 0) + 1);
    }
    expect([...outcomes.keys()]).toEqual(expect.arrayContaining(['True Accepted', 'False InvalidSchedule', 'False PathNotAllowed']));
  });

  it('can be carried out with any two fields at their bounds, and leaves nothing when it is taken back', async () => {
    const before = await made(served(base) as PolicyObject);
    await fc.assert(fc.asyncProperty(fc.constantFrom(...variants), fc.constantFrom(...variants), async (one, other) => {
      const policy = served(other.applyTo(one.applyTo(base)));
      if (policy !== undefined) await made(policy);
      expect(await made(served(base) as PolicyObject)).toEqual(before);
    }), { numRuns: pairs });
  });
});
