import type { CompiledPolicy } from '../../../src/policy/compiled.ts';

export function aCompiledPolicy({ uid = 'uid-1', generation = 1 } = {}): CompiledPolicy {
  return {
    formatVersion: 1, policy: { name: 'a3s-box', uid, generation }, accepted: true, mode: 'Enforce', schedule: null,
    caches: [{
      name: 'rootfs', format: 'a3s-rootfs', root: '/var/lib/a3s-box/home/cache/rootfs', home: '/var/lib/a3s-box/home',
      limits: { maxEntries: 8, maxBytes: null, maxIdleMs: null }, protect: { minIdleMs: 60_000 },
    }],
  };
}
