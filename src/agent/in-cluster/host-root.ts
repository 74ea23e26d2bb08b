import type { CompiledPolicy } from '../../policy/compiled.ts';

/**
 * Where the node's paths lie for a process that has no mounts of its own: below CACHEPOLICY_HOST_ROOT. In a pod it is not set, and the allowed
 * roots are mounted at the same paths as on the node.
 */
export function belowHostRoot(path: string, env: NodeJS.ProcessEnv = process.env): string {
  return `${env['CACHEPOLICY_HOST_ROOT'] ?? ''}${path}`;
}

export function policyBelowHostRoot(policy: CompiledPolicy): CompiledPolicy {
  return { ...policy, caches: policy.caches.map((cache) => ({ ...cache, root: belowHostRoot(cache.root), home: cache.home === null ? null : belowHostRoot(cache.home) })) };
}
