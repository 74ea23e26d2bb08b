import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Asker } from '../../src/cache/clock-watch.ts';
import { ClockWatch } from '../../src/cache/clock-watch.ts';
import { scratchDir } from '../disk/scratch.ts';
import { SteppedClock } from './stepped-clock.ts';

const minutes = (n: number) => n * 60_000;

function watchOn(clock: SteppedClock): ClockWatch {
  const allowedRoot = scratchDir();
  mkdirSync(join(allowedRoot, 'cache'));
  return new ClockWatch(clock, { root: join(allowedRoot, 'cache'), format: 'a3s-rootfs', allowedRoots: [allowedRoot] });
}

describe('the wall clock', () => {
  test('is trusted while only time passes', () => {
    const clock = new SteppedClock();
    const watch = watchOn(clock);
    for (const passed of [0, 1, 60, 60 * 24 * 30]) {
      clock.advance(minutes(passed));
      expect(watch.isTrusted('Pass')).toBe(true);
    }
  });

  test('may be set right by some seconds', () => {
    const clock = new SteppedClock();
    const watch = watchOn(clock);
    watch.isTrusted('Pass');
    clock.jump(minutes(4));
    expect(watch.isTrusted('Pass')).toBe(true);
  });

  test.each([['forward', 60 * 24 * 30], ['back', -60]])('is distrusted for two passes and ten minutes after a jump %s', (_, jump) => {
    const clock = new SteppedClock();
    const watch = watchOn(clock);
    watch.isTrusted('Pass');
    clock.jump(minutes(jump));
    expect([1, 2, 3].map(() => watch.isTrusted('Pass'))).toEqual([false, false, false]);
    clock.advance(minutes(10));
    expect(watch.isTrusted('Pass')).toBe(true);
  });

  test('is distrusted for two passes, however often somebody looks or asks for free space meanwhile', () => {
    const clock = new SteppedClock();
    const watch = watchOn(clock);
    watch.isTrusted('Pass');
    clock.jump(minutes(60));
    const ask = (...askers: Asker[]) => askers.map((asker) => watch.isTrusted(asker));
    expect(ask('FreeSpace', 'FreeSpace', 'FreeSpace', 'Look', 'FreeSpace', 'Look')).toEqual([false, false, false, false, false, false]);
    clock.advance(minutes(10));
    expect(ask('Look', 'FreeSpace', 'Pass', 'Look', 'Pass', 'Pass')).toEqual([true, true, false, true, false, true]);
  });
});
