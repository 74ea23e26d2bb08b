import { OperatorError } from '../errors.ts';
import type { Pin } from './keep.ts';
import type { FreeAmount, Limits, Protect } from './limits.ts';

/**
 * What an agent is told. A newer controller may add fields, which are ignored: where one says what must not be evicted, it writes another
 * version instead. Another version is refused, and the last good policy stays in force.
 */
export const formatVersions = { first: 1, pins: 2 } as const;

export type Mode = 'Enforce' | 'DryRun' | 'Suspended';

/** The on-disk formats, by the name they have in a compiled policy and in cache/formats/registry.ts. */
const storeFormatNames = ['a3s-rootfs', 'a3s-layers'] as const;
export const formatNames = [...storeFormatNames, 'directory'] as const;

export type StoreFormatName = (typeof storeFormatNames)[number];
export type FormatName = (typeof formatNames)[number];

/** What an agent must be allowed beyond every agent's rights, by the formats of its caches: to ask who has a file open takes CAP_LEASE. */
export const formatCapabilities: Readonly<Record<FormatName, readonly string[]>> = { 'a3s-rootfs': [], 'a3s-layers': [], directory: ['LEASE'] };

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
  /** The home of the runtime that uses the cache: where the markers of what is in use lie; null where no runtime does. */
  readonly home: string | null;
  readonly limits: Limits;
  readonly protect: Protect;
}

/** One CachePolicy, resolved to what an agent or a prune needs: paths, numbers, no defaults left open. */
export interface CompiledPolicy {
  readonly formatVersion: (typeof formatVersions)[keyof typeof formatVersions];
  readonly policy: { readonly name: string; readonly uid: string; readonly generation: number };
  /** False where the controller did not accept the policy: agents report, and evict nothing. */
  readonly accepted: boolean;
  readonly mode: Mode;
  readonly schedule: Schedule | null;
  readonly caches: readonly CompiledCache[];
}

/** Whose policy a text is that `parseCompiled` refuses; undefined where not even that can be read. It stands in the same place in every version. */
export function subjectOf(text: string): CompiledPolicy['policy'] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const compiled = value as CompiledPolicy | null;
  return typeof compiled === 'object' && compiled !== null && isSubject(compiled.policy) ? compiled.policy : undefined;
}

/**
 * Reads a compiled policy. Unknown fields are ignored. Everything this version knows must be there: a limit that is missing is an
 * error, never "no limit".
 * @throws ERR_POLICY_FORMAT
 */
export function parseCompiled(text: string): CompiledPolicy {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new OperatorError('ERR_POLICY_FORMAT', 'the compiled policy is not JSON', { cause });
  }
  const known: readonly unknown[] = Object.values(formatVersions);
  const compiled = value as CompiledPolicy;
  if (!known.includes(compiled?.formatVersion)) {
    throw new OperatorError('ERR_POLICY_FORMAT', `the compiled policy has format ${String(compiled?.formatVersion)}; this agent reads ${known.join(' and ')}`);
  }
  if (compiled.formatVersion === formatVersions.first) addLaterFields(compiled);
  for (const [field, right] of Object.entries(checks)) {
    if (!right(compiled)) throw new OperatorError('ERR_POLICY_FORMAT', `the compiled policy has no valid ${field}`);
  }
  return compiled;
}

/** What a controller that does not know a field yet leaves out: then nobody has asked for it. */
function addLaterFields({ caches }: CompiledPolicy): void {
  if (!Array.isArray(caches)) return;
  for (const cache of caches as readonly (Partial<CompiledCache> | null)[]) {
    const { limits, protect } = cache ?? {};
    if (limits) Object.assign(limits, { ...laterLimits, ...limits });
    if (protect) Object.assign(protect, { ...laterProtection, ...protect });
  }
}

const laterLimits: Partial<Limits> = { minFree: null, minFreeInodes: null, headroomPercent: 0 };
const laterProtection: Partial<Protect> = { keep: [] };

const checks: Readonly<Record<string, (compiled: CompiledPolicy) => boolean>> = {
  policy: ({ policy }) => isSubject(policy),
  accepted: ({ accepted }) => typeof accepted === 'boolean',
  mode: ({ mode }) => ['Enforce', 'DryRun', 'Suspended'].includes(mode),
  schedule: ({ schedule }) => schedule === null || (typeof schedule?.cron === 'string' && typeof schedule.timeZone === 'string' && isAmount(schedule.jitterMs)),
  caches: ({ caches }) => Array.isArray(caches) && caches.every(isCache),
};

function isSubject(policy: CompiledPolicy['policy'] | undefined): boolean {
  return typeof policy?.name === 'string' && typeof policy.uid === 'string' && Number.isSafeInteger(policy.generation);
}

function isCache(cache: CompiledCache | null): boolean {
  if (cache === null) return false;
  const { name, format, root, home, limits, protect } = cache;
  const texts = formatNames.includes(format) && [name, root, ...(format === 'directory' ? [] : [home])].every((text) => typeof text === 'string' && text !== '');
  const amounts = [limits?.maxEntries, limits?.maxBytes, limits?.maxIdleMs].every((limit) => limit === null || isAmount(limit));
  return texts && amounts && [limits.minFree, limits.minFreeInodes].every(isFreeAmount) && isPercentage(limits.headroomPercent) && isAmount(protect?.minIdleMs) && Array.isArray(protect.keep) && protect.keep.every(isPin);
}

function isPin(pin: Pin | null): boolean {
  if (pin === null) return false;
  const { by, pattern, untilMs, reason } = pin;
  return ['key', 'description'].includes(by) && typeof pattern === 'string' && pattern !== '' && (untilMs === null || isAmount(untilMs)) && typeof reason === 'string';
}

function isFreeAmount(amount: FreeAmount | null): boolean {
  if (amount === null || typeof amount !== 'object') return amount === null;
  const { percent, count } = amount as { percent?: unknown; count?: unknown };
  return (percent === undefined) !== (count === undefined) && (percent === undefined ? isAmount(count) : isPercentage(percent));
}

function isPercentage(value: unknown): boolean {
  return isAmount(value) && (value as number) < 100;
}

function isAmount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
