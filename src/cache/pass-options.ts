import type { Mode } from '../policy/compiled.ts';
import type { Demand } from '../policy/free-space.ts';
import type { PassProgress, Trigger } from './report.ts';

export interface WorkOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PassProgress) => void) | undefined;
}

export interface PassOptions extends WorkOptions {
  /** Only Enforce writes anything below the root. */
  readonly mode: Mode;
  /** FreeSpace meets the demand alone, and leaves all other limits to their own time. */
  readonly trigger: Trigger;
  /** What has to go for the sake of the filesystem. */
  readonly demand?: Demand | undefined;
}

/** Which limits a plan is made by. */
export type PlanOptions = Pick<PassOptions, 'trigger' | 'demand' | 'signal'>;

export interface PurgeOptions extends WorkOptions {
  /** Free space is short: nothing rests. */
  readonly now?: boolean;
}
