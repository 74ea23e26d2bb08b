import type { Limits, Protect } from './limits.ts';

/** What an agent is told. A newer controller may add fields (ignored); another version is refused and the last good policy stays in force. */
export const compiledFormatVersion = 1;

export type Mode = 'Enforce' | 'DryRun' | 'Suspended';

/** The on-disk formats, by the name they have in a compiled policy and in cache/formats/registry.ts. */
export type FormatName = 'a3s-rootfs' | 'a3s-layers';

export interface Schedule {
  readonly cron: string;
  readonly timeZone: string;
  readonly jitterMs: number;
}

export interface CompiledCache {
  readonly name: string;
  readonly format: FormatName;
  /** The directory whose children are the entries. */
  readonly root: string;
  /** The home of the runtime that uses the cache: where the markers of what is in use lie. */
  readonly home: string;
  readonly limits: Limits;
  readonly protect: Protect;
}

/** One CachePolicy, resolved to what an agent or a prune needs: paths, numbers, no defaults left open. */
export interface CompiledPolicy {
  readonly formatVersion: typeof compiledFormatVersion;
  readonly policy: { readonly name: string; readonly uid: string; readonly generation: number };
  /** False where the controller did not accept the policy: agents report, and evict nothing. */
  readonly accepted: boolean;
  readonly mode: Mode;
  readonly schedule: Schedule | null;
  readonly caches: readonly CompiledCache[];
}
