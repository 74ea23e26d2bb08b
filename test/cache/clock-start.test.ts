import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Limits } from '../../src/policy/limits.ts';
import { DirectoryOnDisk } from './directory-on-disk.ts';
import { SteppedClock } from './stepped-clock.ts';
import { key, StoreOnDisk } from './store.ts';

const minute = 60_000;
const day = 24 * 60 * minute;
const enforce = { mode: 'Enforce', trigger: 'Manual' } as const;
const maxIdle: Partial<Limits> = { maxIdleMs: 7 * day };

/** A cache of three entries used a quarter of an hour ago, on which each run is a process of its own. */
function machine(make: 'directory' | 'store' = 'store') {
  const clock = new SteppedClock();
  const disk = make === 'directory' ? new DirectoryOnDisk() : new StoreOnDisk();
  for (const name of ['a', 'b', 'c']) {
    if (disk instanceof DirectoryOnDisk) disk.folder(name, { usedSecondsAgo: 900 });
    else disk.entry(key(name), { usedSecondsAgo: 900 });
  }
  const run = async () => {
    using cache = disk.cache(maxIdle, { clock });
    const { evicted, clockDoubt } = await cache.pass(enforce);
    return { evicted: evicted.length, clockDoubt };
  };
  const look = async () => {
    using cache = disk.cache(maxIdle, { clock });
    return (await cache.plan()).plan.evict.length;
  };
  return { clock, disk, run, look, record: join(disk.root, '.cachepolicy/clock') };
}

const trusted = { evicted: 0, clockDoubt: undefined };

describe.each(['store', 'directory'] as const)('a clock that is a month ahead when a run starts empties no %s', (kind) => {
  test('in the same boot: two runs and ten minutes go without it', async () => {
    const { clock, run, look } = machine(kind);
    expect(await run()).toEqual(trusted);
    clock.jump(30 * day);
    const doubted = { evicted: 0, clockDoubt: 'the clock was set 30d ahead' };
    expect(await look()).toBe(0);
    for (let i = 0; i < 4; i += 1) expect(await run()).toEqual(doubted);
    clock.jump(-30 * day);
    expect(await run()).toEqual({ evicted: 0, clockDoubt: 'the clock was set 30d back' });
    clock.advance(11 * minute);
    await run();
    expect(await run()).toEqual(trusted);
  });

  test('after a reboot', async () => {
    const { clock, run, look } = machine(kind);
    await run();
    clock.reboot(0);
    clock.jump(30 * day - 20_000);
    clock.advance(minute);
    expect(await look()).toBe(0);
    for (let i = 0; i < 3; i += 1) expect(await run()).toEqual({ evicted: 0, clockDoubt: 'the clock says that the machine was off for 30d' });
  });

  test('on a machine that has just booted, at the first run ever', async () => {
    const { clock, run } = machine(kind);
    clock.reboot();
    clock.jump(30 * day);
    clock.advance(5_000);
    for (let i = 0; i < 3; i += 1) expect(await run()).toEqual({ evicted: 0, clockDoubt: 'the machine booted less than 10m before' });
  });

  test('within one process, however many passes it makes at once', async () => {
    const { clock, disk, run } = machine(kind);
    await run();
    clock.jump(30 * day);
    using cache = disk.cache(maxIdle, { clock });
    for (let i = 0; i < 10; i += 1) expect((await cache.pass(enforce)).evicted).toEqual([]);
  });
});

describe('a clock that is right is believed', () => {
  test('in the end after a machine was off for a month: the entries go', async () => {
    const { clock, run } = machine();
    await run();
    clock.reboot(30 * day);
    clock.advance(minute);
    expect(await run()).toMatchObject({ evicted: 0, clockDoubt: expect.stringContaining('off for 30d') });
    expect(await run()).toMatchObject({ evicted: 0 });
    clock.advance(10 * minute);
    expect(await run()).toEqual({ evicted: 3, clockDoubt: undefined });
  });

  test('at every third start of a machine that is off most of the time', async () => {
    const { clock, run } = machine();
    await run();
    const evicted: number[] = [];
    for (let start = 0; start < 10; start += 1) {
      clock.reboot(day);
      clock.advance(11 * minute);
      evicted.push((await run()).evicted);
    }
    expect(evicted.filter((count) => count === 3)).toHaveLength(1);
    expect(evicted.indexOf(3)).toBeLessThan(9);
  });

  test.each<[string, (clock: SteppedClock) => void]>([
    ['after a month of uptime', (clock) => clock.advance(30 * day)],
    ['after a month of sleep', (clock) => clock.suspend(30 * day)],
  ])('at once %s: the entries go', async (_, passes) => {
    const { clock, run } = machine();
    await run();
    passes(clock);
    expect(await run()).toEqual({ evicted: 3, clockDoubt: undefined });
  });

  test('at once after a reboot of five minutes', async () => {
    const { clock, run } = machine();
    await run();
    clock.advance(5 * minute);
    clock.reboot(5 * minute);
    clock.advance(minute);
    expect(await run()).toEqual(trusted);
  });

  test('at once at the first run ever on a machine that runs for long', async () => {
    const { clock, run } = machine();
    clock.jump(30 * day);
    expect(await run()).toEqual({ evicted: 3, clockDoubt: undefined });
  });

  test('where it is stepped by seconds', async () => {
    const { clock, run } = machine();
    await run();
    clock.jump(-20_000);
    expect(await run()).toEqual(trusted);
  });
});

test.each([
  '', '{', 'null', '[]', '{"formatVersion":1}', '{"formatVersion":1,"last":{"bootId":"x","wallMs":"soon","uptimeMs":1},"doubt":null}',
  '{"formatVersion":1,"last":{"bootId":"boot 1","wallMs":1,"uptimeMs":1e300},"doubt":{"why":7}}', 'x'.repeat(100_000),
])('a record that makes no sense is none: %j', async (content) => {
  const { clock, run, record } = machine();
  await run();
  writeFileSync(record, content);
  clock.jump(30 * day);
  expect(await run()).toEqual({ evicted: 3, clockDoubt: undefined });
});

test('a doubt that is written by somebody else ends all the same', async () => {
  const { clock, run, record } = machine();
  await run();
  const { last } = JSON.parse(readFileSync(record, 'utf8')) as { last: object };
  writeFileSync(record, JSON.stringify({ formatVersion: 1, last, doubt: { why: 'forever', aheadMs: 1e300, passes: 1e300, untilUptimeMs: 1e300 } }));
  for (let i = 0; i < 3; i += 1) expect(await run()).toEqual({ evicted: 0, clockDoubt: 'forever' });
  clock.advance(10 * minute);
  expect(await run()).toEqual(trusted);
});
