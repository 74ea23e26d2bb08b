import { describe, expect, it } from 'vitest';
import type { Tries } from '../../src/policy/tries.ts';
import { afterTry, isInVain, noTries } from '../../src/policy/tries.ts';
import { minute, now, second } from './builders.ts';

describe('another try to free space', () => {
  const after = (tries: Tries, gain: number | undefined, expiresAtMs: number | null = null) => afterTry(tries, { gain, nowMs: now, expiresAtMs });
  const wait = ({ nextAtMs }: Tries) => nextAtMs - now;

  it('follows at once where the last one gained something', () => {
    expect(after({ inVain: 1, nextAtMs: 0 }, 0.03)).toEqual({ inVain: 0, nextAtMs: now });
  });

  it('follows once more where it gained next to nothing, and then waits longer each time, ten minutes at most', () => {
    let tries = after(noTries, 0.029);
    expect([isInVain(tries), wait(tries)]).toEqual([false, 0]);
    const waits = [];
    for (let i = 0; i < 8; i += 1) {
      tries = after(tries, 0);
      waits.push(wait(tries) / second);
      expect(isInVain(tries)).toBe(true);
    }
    expect(waits).toEqual([30, 60, 120, 240, 480, 600, 600, 600]);
  });

  it('waits right away where nothing could be asked for, a minute at most, and not beyond the moment at which something may go', () => {
    expect(wait(after({ inVain: 9, nextAtMs: 0 }, undefined))).toBe(minute);
    expect(wait(after(noTries, undefined))).toBe(30 * second);
    expect(wait(after(noTries, undefined, now + 5 * second))).toBe(5 * second);
    expect(wait(after(noTries, undefined, now - 1))).toBe(30 * second);
  });
});
