import type { CachePolicy } from '../api/cachepolicy.gen.ts';
import { parseDuration } from '../api/duration.ts';
import { placeOf } from '../api/cache-place.ts';
import type { Store } from '../api/paths.ts';
import { parseQuantity } from '../api/quantity.ts';
import { OperatorError } from '../errors.ts';
import type { CompiledCache, CompiledPolicy, StoreFormatName } from './compiled.ts';
import { formatVersions } from './compiled.ts';
import type { Pin } from './keep.ts';
import type { FreeAmount, Limits } from './limits.ts';

const formats: Readonly<Record<Store, StoreFormatName>> = { Rootfs: 'a3s-rootfs', Layers: 'a3s-layers' };

/** How a store lies on disk. */
export function formatOf(store: Store): StoreFormatName {
  return formats[store];
}

type CacheSpec = CachePolicy['spec']['caches'][number];

/**
 * Resolves a policy, with its defaults filled in, to what an agent needs.
 * @throws ERR_INPUT_INVALID where a value cannot be read: a limit that is not understood never turns into no limit.
 */
export function compilePolicy({ metadata, spec }: CachePolicy, { accepted }: { accepted: boolean }): CompiledPolicy {
  const { schedule } = spec;
  return {
    formatVersion: formatVersionFor(spec),
    policy: { name: metadata.name, uid: metadata.uid ?? '', generation: metadata.generation ?? 0 },
    accepted,
    mode: spec.mode,
    schedule: schedule ? { cron: schedule.cron, timeZone: schedule.timeZone, jitterMs: read(parseDuration, 'schedule.jitter', schedule.jitter) } : null,
    caches: spec.caches.map(compileCache),
  };
}

function compileCache(spec: CacheSpec, index: number): CompiledCache {
  const { name, a3sBox, limits, protect } = spec;
  const at = `caches[${index}]`;
  const { root, home } = placeOf(spec);
  return {
    name,
    format: a3sBox === undefined ? 'directory' : formatOf(a3sBox.store),
    root,
    home,
    limits: compileLimits(limits, `${at}.limits`),
    protect: {
      minIdleMs: read(parseDuration, `${at}.protect.minIdle`, protect.minIdle),
      keep: (protect.keep ?? []).map((pin, i) => compilePin(pin, `${at}.protect.keep[${i}]`)),
    },
  };
}

/** An agent that knows no pins would evict what they hold: it must not take the policy at all. */
function formatVersionFor({ caches }: CachePolicy['spec']): CompiledPolicy['formatVersion'] {
  return caches.some(({ protect }) => (protect.keep ?? []).length > 0) ? formatVersions.pins : formatVersions.first;
}

type PinSpec = NonNullable<CacheSpec['protect']['keep']>[number];

function compilePin({ key, description, until, reason = '' }: PinSpec, at: string): Pin {
  const untilMs = until === undefined ? null : read(parseTime, `${at}.until`, until);
  if (key !== undefined && description === undefined) return { by: 'key', pattern: key, untilMs, reason };
  if (description !== undefined && key === undefined) return { by: 'description', pattern: description, untilMs, reason };
  throw new OperatorError('ERR_INPUT_INVALID', `spec.${at}: a pin must have either key or description, and not both`);
}

function parseTime(text: string): number | undefined {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

/** `10%` → 10 */
function parsePercentage(text: string): number | undefined {
  const digits = /^(\d{1,2})%$/.exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** `20%`, or what `parse` makes of anything else. */
function freeAmountIn(parse: (text: string) => number | undefined): (text: string) => FreeAmount | undefined {
  return (text) => {
    if (!text.endsWith('%')) {
      const count = parse(text);
      return count === undefined ? undefined : { count };
    }
    const percent = parsePercentage(text);
    return percent === undefined ? undefined : { percent };
  };
}

function parseCount(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function compileLimits({ maxEntries, maxBytes, maxIdle, minFree, minFreeInodes, headroom }: CacheSpec['limits'], at: string): Limits {
  return {
    maxEntries: maxEntries ?? null,
    maxBytes: maxBytes === undefined ? null : read(parseQuantity, `${at}.maxBytes`, maxBytes),
    maxIdleMs: maxIdle === undefined ? null : read(parseDuration, `${at}.maxIdle`, maxIdle),
    minFree: minFree === undefined ? null : read(freeAmountIn(parseQuantity), `${at}.minFree`, minFree),
    minFreeInodes: minFreeInodes === undefined ? null : read(freeAmountIn(parseCount), `${at}.minFreeInodes`, minFreeInodes),
    headroomPercent: headroom === undefined ? 0 : read(parsePercentage, `${at}.headroom`, headroom),
  };
}

function read<T, R>(parse: (value: T) => R | undefined, field: string, value: T): R {
  const parsed = parse(value);
  if (parsed === undefined) throw new OperatorError('ERR_INPUT_INVALID', `spec.${field}: cannot read "${String(value)}"`);
  return parsed;
}
