import { describe, expect, it } from 'vitest';
import type { CachePolicy } from '../../src/api/cachepolicy.gen.ts';
import { validatePolicy } from '../../src/api/validate.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { parseCompiled } from '../../src/policy/compiled.ts';
import type { CompiledCache } from '../../src/policy/compiled.ts';
import type { Filesystem } from '../../src/policy/filesystem.ts';
import { planFreeSpace } from '../../src/policy/free-space.ts';
import { planEviction } from '../../src/policy/plan.ts';
import { entry, hour, planInput } from './builders.ts';

/** A disk on which nothing is free, and a cache with one entry used an hour ago. */
const fullDisk: Filesystem = { capacityBytes: 1_000, availableBytes: 0, inodes: 10, inodesFree: 0 };

/** From the YAML of the limits all the way to what goes. */
function wayOf(limits: object): { compiled: CompiledCache['limits']; evicted: string[] } {
  const value = {
    apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', metadata: { name: 'p' },
    spec: { caches: [{ name: 'c', a3sBox: { home: '/var/lib/a3s-box/home', store: 'Rootfs' }, limits, protect: { minIdle: '0s' } }] },
  };
  const { policy, problems } = validatePolicy(value);
  expect(problems ?? []).toEqual([]);
  const { limits: compiled } = parseCompiled(JSON.stringify(compilePolicy(policy as CachePolicy, { accepted: true }))).caches[0]!;
  const input = planInput([entry('only', { idleMs: hour, sizeBytes: 100 })], { ...compiled, minIdleMs: 0 });
  const [share] = planFreeSpace(fullDisk, [{ limits: compiled, plan: planEviction(input), trashBytes: 0 }]);
  return { compiled, evicted: [...share!.plan.evict].map(({ reason }) => reason) };
}

/** What evicts nothing beside the limit in question: one has to be there. */
const generous = { maxEntries: 1_000 };

describe('from the YAML to the plan', () => {
  it.each([
    ['maxEntries', 0, 'maxEntries', 0, ['MaxEntries']],
    ['maxBytes', 0, 'maxBytes', 0, ['MaxBytes']],
    ['maxBytes', '0', 'maxBytes', 0, ['MaxBytes']],
    ['maxBytes', '0Gi', 'maxBytes', 0, ['MaxBytes']],
    ['maxIdle', '0s', 'maxIdleMs', 0, ['MaxIdle']],
    // Nothing at all has to be free: never short, and not the same as everything.
    ['minFree', '0%', 'minFree', { percent: 0 }, []],
    ['minFree', '0Gi', 'minFree', { count: 0 }, []],
    ['minFreeInodes', '0%', 'minFreeInodes', { percent: 0 }, []],
    ['minFreeInodes', '0', 'minFreeInodes', { count: 0 }, []],
    ['minFree', '1%', 'minFree', { percent: 1 }, ['MinFree']],
    ['minFreeInodes', '1', 'minFreeInodes', { count: 1 }, ['MinFreeInodes']],
    ['headroom', '0%', 'headroomPercent', 0, []],
  ] as const)('%s of %j is a limit of just that', (field, value, compiledField, compiledValue, evicted) => {
    const limits = { ...(field === 'maxEntries' ? {} : generous), [field]: value };
    const way = wayOf(limits);
    expect(way.compiled[compiledField]).toEqual(compiledValue);
    expect(way.evicted).toEqual(evicted);
  });

  it.each(['maxEntries', 'maxBytes', 'maxIdleMs', 'minFree', 'minFreeInodes'] as const)('%s that is absent is null, and limits nothing', (field) => {
    const way = wayOf(field === 'maxEntries' ? { maxBytes: '1Ti' } : generous);
    expect(way.compiled[field]).toBeNull();
    expect(way.evicted).toEqual([]);
  });
});
