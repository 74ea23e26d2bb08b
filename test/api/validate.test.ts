import { Ajv } from 'ajv';
import type { AnySchema } from 'ajv';
import { describe, expect, it } from 'vitest';
import { formatPath } from '../../src/api/problem.ts';
import { cachePolicySchema } from '../../src/api/cachepolicy-schema.gen.ts';
import { validatePolicy } from '../../src/api/validate.ts';

function policy(spec: object = {}, cache: object = {}): Record<string, unknown> {
  const caches = [{ name: 'rootfs', a3sBox: { home: '/var/lib/a3s-box/home', store: 'Rootfs' }, limits: { maxEntries: 8 }, ...cache }];
  return { apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', metadata: { name: 'a3s-box' }, spec: { caches, ...spec } };
}

function problems(value: unknown): string[] {
  return (validatePolicy(value).problems ?? []).map(({ path, message }) => `${formatPath(path)}: ${message}`);
}

// What is refused, and with which words, is specified by test/manifests.
describe('a policy that is taken', () => {
  it('has its defaults filled in, as the API server fills them in', () => {
    expect(validatePolicy(policy({ schedule: { cron: '0 3 * * *' } })).policy?.spec).toEqual({
      caches: [{ name: 'rootfs', a3sBox: { home: '/var/lib/a3s-box/home', store: 'Rootfs' }, limits: { maxEntries: 8 }, protect: { minIdle: '60s' } }],
      mode: 'Enforce',
      rollout: { maxUnavailable: '10%' },
      schedule: { cron: '0 3 * * *', timeZone: 'UTC', jitter: '0s' },
    });
  });

  it('has no default in place of a limit', () => {
    expect(validatePolicy(policy()).policy?.spec.caches[0]?.limits).toEqual({ maxEntries: 8 });
  });
});

describe('a policy with several mistakes', () => {
  it('is told all of them, each once', () => {
    const value = policy({ mode: 'Off', bogus: 1 }, { limits: { maxBytes: '10Gx', maxEntries: -1 }, protect: { minIdle: 'x' } });
    expect(problems(value).toSorted()).toEqual([
      'spec.bogus: unknown field; allowed here: nodeSelector, tolerations, mode, schedule, caches, rollout',
      'spec.caches[0].limits.maxBytes: "10Gx": maxBytes must be a quantity from 0 to less than 8Pi, a number with Ki, Mi, Gi or Ti, such as 10Gi',
      'spec.caches[0].limits.maxEntries: -1 should be greater than or equal to 0',
      'spec.caches[0].protect.minIdle: "x": minIdle must be a duration in d, h, m and s, such as 60s',
      'spec.mode: Unsupported value "Off"; write Enforce or DryRun or Suspended',
    ]);
  });
});

describe('a rule that cannot be evaluated', () => {
  it('is a broken one, as with the API server', () => {
    expect(problems(policy({ schedule: { cron: '0 3 * * *', timeZone: 'Mars/Olympus' } }))).toEqual([
      'spec.schedule.timeZone: "Mars/Olympus": timeZone must be an IANA time zone name, such as Europe/Berlin',
    ]);
  });
});

describe('something that is no policy', () => {
  it.each([
    ['text', 'hello'], ['a number', 5], ['a list', []], ['nothing', null],
  ])('%s is told what a policy starts with', (_, value) => {
    expect(problems(value)).toEqual([': a CachePolicy is an object that starts with apiVersion: cache.a3s.dev/v1alpha1']);
  });

  it('one without a name is told what a name is', () => {
    const { metadata: _, ...nameless } = policy();
    expect(problems(nameless)).toEqual(['metadata.name: Required value is missing; write a name, such as a3s-box']);
    expect(problems({ ...nameless, metadata: { name: 5 } })).toEqual(['metadata.name: Unsupported value 5; write a name, such as a3s-box']);
  });

  it('another kind or version is named', () => {
    expect(problems({ apiVersion: 'v1', kind: 'ConfigMap' })).toEqual(['kind: Unsupported value "ConfigMap"; only CachePolicy is read here']);
    expect(problems({ ...policy(), apiVersion: 'cache.a3s.dev/v1' })).toEqual(['apiVersion: Unsupported value "cache.a3s.dev/v1"; write cache.a3s.dev/v1alpha1']);
    expect(problems({})).toEqual(['kind: Required value is missing; only CachePolicy is read here']);
  });
});

describe('hostile values', () => {
  it('stay one short line', () => {
    const [line = ''] = problems(policy({}, { a3sBox: { home: `/${'x\n'.repeat(200)}`, store: 'Rootfs' } }));
    expect(line).not.toContain('\n');
    expect(line.length).toBeLessThan(400);
  });

  it('cannot borrow fields from the prototype', () => {
    expect(problems(policy({}, { limits: JSON.parse('{"__proto__": {"maxEntries": 1}}') as object }))).toEqual([
      'spec.caches[0].limits.__proto__: unknown field; allowed here: maxEntries, maxBytes, maxIdle, minFree, minFreeInodes, headroom',
    ]);
    expect(problems(policy({ toString: 1 }))).toEqual([expect.stringContaining('spec.toString: unknown field')]);
  });
});

describe('the schema', () => {
  it('is a JSON schema by the meta-schema, which no command checks again', () => {
    const ajv = new Ajv({ strict: false });
    expect([ajv.validateSchema(cachePolicySchema as AnySchema), ajv.errors]).toEqual([true, null]);
  });
});
