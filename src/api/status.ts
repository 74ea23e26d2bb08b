import type { CachePolicy } from './cachepolicy.gen.ts';
import type { NodeCache } from './nodecache.gen.ts';

export type CachePolicyStatus = NonNullable<CachePolicy['status']>;
export type NodeCacheStatus = NonNullable<NodeCache['status']>;
