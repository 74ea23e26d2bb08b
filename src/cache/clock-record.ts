import { openRoot } from '../disk/pinned-root.ts';
import { readSmallFile, writeFileAtomically } from '../disk/small-file.ts';
import type { ClockDoubt, ClockReading } from '../policy/clock-doubt.ts';
import { openOwn } from './own-folder.ts';
import type { MemoryPlace } from './state.ts';
import { withOwn } from './state.ts';

/** What of the clock outlives a process: the last reading, and whether the clock was doubted then. */
export interface ClockRecord {
  readonly last: ClockReading;
  /** `passes` are left that go without the clock, and all until the uptime of that boot. */
  readonly doubt: (ClockDoubt & { readonly passes: number; readonly untilUptimeMs: number }) | null;
}

const formatVersion = 1;
const fileName = 'clock';
const tempName = 'clock.new';
const maxBytes = 4096;

/** Undefined where there is none, or one that cannot be read. @throws ERR_ROOT_* */
export function readClockRecord(place: MemoryPlace): ClockRecord | undefined {
  return withOwn(place, (own) => {
    const file = readSmallFile(own, fileName, maxBytes);
    return file.outcome === 'Read' ? parsed(file.bytes.toString()) : undefined;
  });
}

/** Under the pass lock. @throws ERR_ROOT_*, ERR_DISK_IO, ERR_DISK_FULL; then what was there before stands */
export function writeClockRecord({ root, allowedRoots, format, fault }: MemoryPlace, record: ClockRecord): void {
  // Without relief: the reserve of a full disk is there for what frees space.
  using dir = openRoot(root, { allowedRoots, fault });
  using own = openOwn({ root: dir, allowedRoots, format });
  // Left by a crash.
  own.unlink(tempName);
  writeFileAtomically(own, { name: fileName, tempName, content: `${JSON.stringify({ formatVersion, ...record })}\n`, mode: 0o600 });
}

function parsed(text: string): ClockRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { formatVersion: version, last, doubt } = (value ?? {}) as Partial<ClockRecord> & { formatVersion?: unknown };
  const isKnown = version === formatVersion && isReading(last) && (doubt === null || isDoubt(doubt));
  return isKnown ? { last, doubt } : undefined;
}

function isReading(value: Partial<ClockReading> | undefined): value is ClockReading {
  return typeof value?.bootId === 'string' && Number.isFinite(value.wallMs) && Number.isFinite(value.uptimeMs);
}

function isDoubt(value: Partial<NonNullable<ClockRecord['doubt']>> | undefined): value is NonNullable<ClockRecord['doubt']> {
  return typeof value?.why === 'string' && [value.aheadMs, value.passes, value.untilUptimeMs].every((number) => Number.isFinite(number));
}
