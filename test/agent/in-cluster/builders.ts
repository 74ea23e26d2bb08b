import type { CompiledPolicy } from '../../../src/policy/compiled.ts';
import { noLimits, noProtection } from '../../../src/policy/limits.ts';

export function aCompiledPolicy({ uid = 'uid-1', generation = 1 } = {}): CompiledPolicy {
  return {
    formatVersion: 1, policy: { name: 'a3s-box', uid, generation }, accepted: true, mode: 'Enforce', schedule: null,
    caches: [{
      name: 'rootfs', format: 'a3s-rootfs', root: '/var/lib/a3s-box/home/cache/rootfs', home: '/var/lib/a3s-box/home',
      limits: { ...noLimits, maxEntries: 8 }, protect: { ...noProtection, minIdleMs: 60_000 },
    }],
  };
}
