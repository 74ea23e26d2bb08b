/** Durations as a policy writes them: `60s`, `1h30m`, `7d`. In code they are ms. */

const unitMs: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 };

/**
 * Reads one to four whole numbers, each with d, h, m or s, and adds them up; the CRDs accept the same.
 * @returns ms (below 2^53, whatever was accepted), or undefined where the text is no such duration.
 */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d{1,7}[dhms]){1,4}$/.test(text)) return undefined;
  let totalMs = 0;
  for (const [, number, unit = ''] of text.matchAll(/(\d+)([dhms])/g)) totalMs += Number(number) * (unitMs[unit] ?? 0);
  return totalMs;
}

/** For people, without losing a second: `45s`, `2h`, `4d12h`. For limits, which are compared exactly. */
export function formatExactDuration(ms: number): string {
  let seconds = Math.floor(Math.max(0, ms) / 1000);
  if (seconds < 120) return `${seconds}s`;
  let text = '';
  for (const [unit, size] of [['d', 86_400], ['h', 3600], ['m', 60], ['s', 1]] as const) {
    const count = Math.floor(seconds / size);
    if (count > 0) text += `${count}${unit}`;
    seconds %= size;
  }
  return text;
}

/** For people, as kubectl writes an age: at most two units, the larger first (`45s`, `3m20s`, `5h12m`, `6d`). Rounds down. */
export function formatDuration(ms: number): string {
  const seconds = Math.floor(Math.max(0, ms) / 1000);
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 3 * 3600) return inUnits(seconds, { unit: 'm', size: 60 }, { unit: 's', size: 1 }, 10);
  if (seconds < 48 * 3600) return inUnits(seconds, { unit: 'h', size: 3600 }, { unit: 'm', size: 60 }, 8);
  return inUnits(seconds, { unit: 'd', size: 86_400 }, { unit: 'h', size: 3600 }, 8);
}

interface Unit {
  readonly unit: string;
  /** Seconds. */
  readonly size: number;
}

/** The rest in the smaller unit stands only below `fineBelow` of the larger one, and never when it is zero. */
function inUnits(seconds: number, large: Unit, small: Unit, fineBelow: number): string {
  const whole = Math.floor(seconds / large.size);
  const rest = Math.floor((seconds % large.size) / small.size);
  return whole < fineBelow && rest > 0 ? `${whole}${large.unit}${rest}${small.unit}` : `${whole}${large.unit}`;
}
