import { describe, expect, it } from 'vitest';
import type { CachePolicy } from '../../src/api/cachepolicy.gen.ts';
import { acceptanceNotes, refusals } from '../../src/policy/acceptance.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { noLimits } from '../../src/policy/limits.ts';

type Spec = CachePolicy['spec'];
type Cache = Spec['caches'][number];

function cache(but: Partial<Cache> = {}): Cache {
  return { name: 'rootfs', a3sBox: { home: '/var/lib/a3s-box/home', store: 'Rootfs' }, limits: { maxEntries: 8 }, protect: { minIdle: '60s' }, ...but };
}

function policy(but: Partial<Spec> = {}): CachePolicy {
  return {
    apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', metadata: { name: 'a3s-box', uid: 'u-1', generation: 3 },
    spec: { mode: 'Enforce', caches: [cache()], rollout: { maxUnavailable: '10%' }, ...but },
  };
}

const roots = ['/var/lib/a3s-box', '/var/cache'];

describe('a compiled policy', () => {
  it('has a directory as the root itself, and no home', () => {
    const { a3sBox: _, ...models } = cache({ name: 'models', directory: { path: '/var/cache/models' } });
    expect(compilePolicy(policy({ caches: [models] }), { accepted: true }).caches[0]).toMatchObject({ format: 'directory', root: '/var/cache/models', home: null });
  });

  it('has paths, numbers and nothing left open', () => {
    const layers = cache({ name: 'layers', a3sBox: { home: '/var/cache/h', store: 'Layers' }, limits: { maxBytes: '1.5Gi', maxIdle: '7d', minFree: '1.5Gi', minFreeInodes: '5%', headroom: '10%' }, protect: { minIdle: '1h30m' } });
    const schedule = { cron: '*/15 * * * *', timeZone: 'UTC', jitter: '90s' };
    expect(compilePolicy(policy({ mode: 'DryRun', schedule, caches: [cache(), layers] }), { accepted: true })).toEqual({
      formatVersion: 1,
      policy: { name: 'a3s-box', uid: 'u-1', generation: 3 },
      accepted: true,
      mode: 'DryRun',
      schedule: { cron: '*/15 * * * *', timeZone: 'UTC', jitterMs: 90_000 },
      caches: [
        {
          name: 'rootfs', format: 'a3s-rootfs', root: '/var/lib/a3s-box/home/cache/rootfs', home: '/var/lib/a3s-box/home',
          limits: { ...noLimits, maxEntries: 8 }, protect: { minIdleMs: 60_000, keep: [] },
        },
        {
          name: 'layers', format: 'a3s-layers', root: '/var/cache/h/cache/layers', home: '/var/cache/h',
          limits: { ...noLimits, maxBytes: 1_610_612_736, maxIdleMs: 604_800_000, minFree: { count: 1_610_612_736 }, minFreeInodes: { percent: 5 }, headroomPercent: 10 }, protect: { minIdleMs: 5_400_000, keep: [] },
        },
      ],
    });
  });

  it('keeps zero as a limit of zero', () => {
    const [compiled] = compilePolicy(policy({ caches: [cache({ limits: { maxEntries: 0, maxBytes: 0, maxIdle: '0s' } })] }), { accepted: true }).caches;
    expect(compiled?.limits).toEqual({ ...noLimits, maxEntries: 0, maxBytes: 0, maxIdleMs: 0 });
  });

  it('has pins, and a version that no agent takes that would evict what they hold', () => {
    const until = '2027-01-01T00:00:00+02:00';
    const keep = [{ description: 'docker.io/library/nginx:*', until, reason: 'sale weekend' }, { key: 'sha256:1' }];
    const compiled = compilePolicy(policy({ caches: [cache({ protect: { minIdle: '60s', keep } })] }), { accepted: true });
    expect(compiled.formatVersion).toBe(2);
    expect(compiled.caches[0]?.protect.keep).toEqual([
      { by: 'description', pattern: 'docker.io/library/nginx:*', untilMs: Date.parse(until), reason: 'sale weekend' },
      { by: 'key', pattern: 'sha256:1', untilMs: null, reason: '' },
    ]);
    expect(compilePolicy(policy({ caches: [cache({ protect: { minIdle: '60s', keep: [] } })] }), { accepted: true }).formatVersion).toBe(1);
  });

  it('is refused where a pin cannot be read, rather than left without it', () => {
    const broken = (pin: object) => () => compilePolicy(policy({ caches: [cache({ protect: { minIdle: '60s', keep: [pin] } })] }), { accepted: true });
    expect(broken({ key: 'a', until: 'soon' })).toThrow('spec.caches[0].protect.keep[0].until: cannot read "soon"');
    expect(broken({})).toThrow('spec.caches[0].protect.keep[0]: a pin must have either key or description, and not both');
    expect(broken({ key: 'a', description: 'b' })).toThrow('a pin must have either key or description, and not both');
  });

  it('is refused where a limit cannot be read, rather than left without it', () => {
    const broken = (limits: Cache['limits']) => () => compilePolicy(policy({ caches: [cache({ limits })] }), { accepted: true });
    expect(broken({ maxBytes: '10Gx' })).toThrow('spec.caches[0].limits.maxBytes: cannot read "10Gx"');
    expect(broken({ minFree: '100%' })).toThrow('spec.caches[0].limits.minFree: cannot read "100%"');
    expect(broken({ minFree: 'much' })).toThrow('spec.caches[0].limits.minFree: cannot read "much"');
    expect(broken({ minFreeInodes: '1Gi' })).toThrow('spec.caches[0].limits.minFreeInodes: cannot read "1Gi"');
    expect(broken({ headroom: '10' })).toThrow('spec.caches[0].limits.headroom: cannot read "10"');
    expect(broken({ maxIdle: 'soon' })).toThrow('spec.caches[0].limits.maxIdle: cannot read "soon"');
  });
});

describe('a policy is refused', () => {
  it('for a home that is not strictly below an allowed root', async () => {
    for (const home of ['/', '/var/cache', '/var/cache-x/home', '/var', '/etc', '/var/cache/../../etc', '/var/cache/', 'var/cache/x']) {
      const found = await refusals(policy({ caches: [cache({ a3sBox: { home, store: 'Rootfs' } })] }), roots);
      expect(found).toEqual([{
        reason: 'PathNotAllowed', field: 'spec.caches[0].a3sBox.home',
        message: `${home} is not strictly below an allowed root; allowed are /var/lib/a3s-box, /var/cache`,
      }]);
    }
  });

  it('for a cacheDir that is not strictly below an allowed root, and for both where both are', async () => {
    const refused = async (home: string, cacheDir: string) =>
      (await refusals(policy({ caches: [cache({ a3sBox: { home, cacheDir, store: 'Rootfs' } })] }), roots)).map(({ reason, field }) => `${reason} ${field}`);
    expect(await refused('/var/cache/h', '/etc/a3s')).toEqual(['PathNotAllowed spec.caches[0].a3sBox.cacheDir']);
    expect(await refused('/etc/h', '/etc/a3s')).toEqual(['PathNotAllowed spec.caches[0].a3sBox.home', 'PathNotAllowed spec.caches[0].a3sBox.cacheDir']);
    expect(await refused('/var/cache/h', '/var/lib/a3s-box/c')).toEqual([]);
  });

  it('for everything where no root is allowed', async () => {
    expect(await refusals(policy(), [])).toMatchObject([{ reason: 'PathNotAllowed', message: expect.stringContaining('allowed are none') }]);
  });

  it('for a schedule that is none', async () => {
    expect(await refusals(policy({ schedule: { cron: '60 * * * *', timeZone: 'UTC', jitter: '0s' } }), roots)).toMatchObject([
      { reason: 'InvalidSchedule', field: 'spec.schedule.cron' },
    ]);
  });

  it('for caches within one another', async () => {
    const inner = cache({ name: 'inner', a3sBox: { home: '/var/lib/a3s-box/home/cache/rootfs/x', store: 'Layers' } });
    expect(await refusals(policy({ caches: [cache(), inner] }), roots)).toMatchObject([{ reason: 'InvalidCaches', field: 'spec.caches[1].a3sBox.home' }]);
  });

  it('for homes that another cache, or the cache itself, has among its entries', async () => {
    const refused = async (...stores: NonNullable<Cache['a3sBox']>[]) =>
      (await refusals(policy({ caches: stores.map((a3sBox, i) => cache({ name: `c${i}`, a3sBox })) }), roots)).map(({ reason, field, message }) => `${reason} ${field}: ${message}`);
    expect(await refused({ home: '/var/cache/c/rootfs/home', cacheDir: '/var/cache/c', store: 'Rootfs' })).toEqual([
      'InvalidCaches spec.caches[0].a3sBox.cacheDir: the home /var/cache/c/rootfs/home would be among the entries of /var/cache/c/rootfs; choose a cacheDir apart from the home',
    ]);
    expect(await refused({ home: '/var/cache/h', store: 'Rootfs' }, { home: '/var/cache/h/cache/rootfs/x', cacheDir: '/var/cache/d', store: 'Layers' })).toEqual([
      'InvalidCaches spec.caches[1].a3sBox.cacheDir: /var/cache/d/layers and /var/cache/h/cache/rootfs (cache c0) do not go together: the home of one would be among the entries of the other',
    ]);
    expect(await refused({ home: '/var/cache/h', store: 'Rootfs' }, { home: '/var/cache/i', cacheDir: '/var/cache/h/cache', store: 'Rootfs' })).toEqual([
      expect.stringMatching(/^InvalidCaches spec.caches\[1\].a3sBox.cacheDir: .* lie within one another/),
    ]);
  });

  it('for nothing else', async () => {
    const caches = [cache(), cache({ name: 'layers', a3sBox: { home: '/var/lib/a3s-box/home', store: 'Layers' } })];
    expect(await refusals(policy({ caches, schedule: { cron: '0 3 * * *', timeZone: 'Europe/Berlin', jitter: '1m' } }), roots)).toEqual([]);
  });
});

describe('a note says that a pin has expired', () => {
  const notes = (until: string) => acceptanceNotes(policy({ caches: [cache({ protect: { minIdle: '60s', keep: [{ key: 'a' }, { key: 'secret', until }] } })] }), Date.parse('2026-06-01T12:00:00Z'));

  it('from the moment on at which it does, without its key', () => {
    expect(notes('2026-06-01T12:00:01Z')).toEqual([]);
    expect(notes('2026-06-01T12:00:00Z')).toEqual(['rootfs: protect.keep[1] expired at 2026-06-01T12:00:00Z and holds nothing any more']);
  });
});

describe('a note says that the runtime prunes itself', () => {
  const notes = (but: Partial<Cache>) => acceptanceNotes(policy({ caches: [cache(but)] }), Date.parse('2026-06-01T12:00:00Z'));

  it('where every limit is at or above its own', () => {
    expect(notes({ limits: { maxEntries: 10, maxBytes: '10Gi' } })).toEqual([expect.stringContaining('rootfs: the runtime itself keeps at most 10 entries and 10Gi')]);
  });

  it('and not where a limit is below it, is about time, or for layers', () => {
    expect(notes({ limits: { maxEntries: 20, maxBytes: '8Gi' } })).toEqual([]);
    expect(notes({ limits: { maxEntries: 9 } })).toEqual([]);
    expect(notes({ limits: { maxEntries: 20, maxIdle: '7d' } })).toEqual([]);
    expect(notes({ limits: { maxEntries: 20, minFree: '20%' } })).toEqual([]);
    expect(notes({ limits: { minFreeInodes: '5%' } })).toEqual([]);
    expect(notes({ limits: { maxEntries: 20 }, a3sBox: { home: '/var/cache/h', store: 'Layers' } })).toEqual([]);
  });
});
