import { describe, expect, it } from 'vitest';
import type { Schedule } from '../../src/policy/compiled.ts';
import { nextRun, scheduleProblem } from '../../src/policy/schedule.ts';

/** Steps a clock from run to run. Each as the moment in UTC and what the wall shows. */
function runs(cron: string, timeZone: string, fromUtc: string, count: number): string[] {
  const wall = new Intl.DateTimeFormat('en-GB', { timeZone, hour: '2-digit', minute: '2-digit' });
  let clock = Date.parse(fromUtc);
  return Array.from({ length: count }, () => {
    clock = nextRun({ cron, timeZone, jitterMs: 0 }, 'node-1', clock);
    return `${new Date(clock).toISOString().slice(5, 16)}Z ${wall.format(clock)}`;
  });
}

describe('a schedule', () => {
  it('is due at its time of day in its zone, summer and winter', () => {
    expect(runs('30 2 * * *', 'Europe/Berlin', '2026-01-10T12:00:00Z', 1)).toEqual(['01-11T01:30Z 02:30']);
    expect(runs('30 2 * * *', 'Europe/Berlin', '2026-07-10T12:00:00Z', 1)).toEqual(['07-11T00:30Z 02:30']);
  });

  it('is next due later than now, also when it is due now', () => {
    expect(runs('0 * * * *', 'UTC', '2026-01-10T12:00:00Z', 1)).toEqual(['01-10T13:00Z 13:00']);
  });

  it('runs a skipped time of day once, when it would have come without the change', () => {
    expect(runs('30 2 * * *', 'Europe/Berlin', '2026-03-28T00:00:00Z', 3)).toEqual(['03-28T01:30Z 02:30', '03-29T01:30Z 03:30', '03-30T00:30Z 02:30']);
    expect(runs('30 2,3 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', 2)).toEqual(['03-29T01:30Z 03:30', '03-30T00:30Z 02:30']);
    expect(runs('30 2 * * *', 'America/New_York', '2026-03-07T12:00:00Z', 2)).toEqual(['03-08T07:30Z 03:30', '03-09T06:30Z 02:30']);
  });

  it('runs a repeated time of day once, the first time', () => {
    expect(runs('30 2 * * *', 'Europe/Berlin', '2026-10-24T00:00:00Z', 3)).toEqual(['10-24T00:30Z 02:30', '10-25T00:30Z 02:30', '10-26T01:30Z 02:30']);
    expect(runs('*/30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', 3)).toEqual(['10-25T00:00Z 02:00', '10-25T00:30Z 02:30', '10-26T01:00Z 02:00']);
    expect(runs('30 1 * * *', 'America/New_York', '2026-10-31T12:00:00Z', 2)).toEqual(['11-01T05:30Z 01:30', '11-02T06:30Z 01:30']);
  });

  it('does not run a repeated time of day again after a start between the two', () => {
    expect(runs('15 2 * * *', 'Europe/Berlin', '2026-10-25T00:30:00Z', 1)).toEqual(['10-26T01:15Z 02:15']);
  });

  it('runs the repeated hour once, also where it names every hour', () => {
    expect(runs('*/30 * * * *', 'Europe/Berlin', '2026-03-29T00:20:00Z', 4)).toEqual(['03-29T00:30Z 01:30', '03-29T01:00Z 03:00', '03-29T01:30Z 03:30', '03-29T02:00Z 04:00']);
    expect(runs('*/30 * * * *', 'Europe/Berlin', '2026-10-24T23:40:00Z', 4)).toEqual(['10-25T00:00Z 02:00', '10-25T00:30Z 02:30', '10-25T02:00Z 03:00', '10-25T02:30Z 03:30']);
  });

  it('stays right where the clock moves by half an hour or at midnight', () => {
    expect(runs('45 1 * * *', 'Australia/Lord_Howe', '2026-04-03T16:00:00Z', 2)).toEqual(['04-04T14:45Z 01:45', '04-05T15:15Z 01:45']);
    expect(runs('20,25,31 2 * * *', 'Australia/Lord_Howe', '2026-10-03T15:00:00Z', 3)).toEqual(['10-03T15:31Z 02:31', '10-03T15:50Z 02:50', '10-03T15:55Z 02:55']);
    expect(runs('0 0 * * *', 'America/Sao_Paulo', '2018-11-03T12:00:00Z', 2)).toEqual(['11-04T03:00Z 01:00', '11-05T02:00Z 00:00']);
  });

  it('has the same due times from whichever minute it is asked', () => {
    const schedule = { cron: '*/20 1-4 * * *', timeZone: 'Europe/Berlin', jitterMs: 0 };
    const start = Date.parse('2026-10-24T20:00:00Z');
    const due: number[] = [];
    for (let at = nextRun(schedule, 'n', start); due.length < 12; at = nextRun(schedule, 'n', at)) due.push(at);
    for (let clock = start; clock < (due.at(-1) ?? 0); clock += 60_000) {
      expect(nextRun(schedule, 'n', clock)).toBe(due.find((at) => at > clock));
    }
    // Four hours of three runs, although the night has two hours from 02:00 to 03:00.
    expect(new Date(due.at(-1) ?? 0).toISOString()).toBe('2026-10-25T03:40:00.000Z');
  });

  it('finds a leap day years ahead', () => {
    expect(runs('0 0 29 2 *', 'UTC', '2096-03-01T00:00:00Z', 1)).toEqual(['02-29T00:00Z 00:00']);
  });

  it('runs on either day where both a day of the month and a weekday are named, as cron does', () => {
    expect(runs('0 0 13 * FRI', 'UTC', '2026-03-07T00:00:00Z', 3)).toEqual(['03-13T00:00Z 00:00', '03-20T00:00Z 00:00', '03-27T00:00Z 00:00']);
  });
});

describe("a node's share of the jitter", () => {
  const schedule: Schedule = { cron: '0 * * * *', timeZone: 'UTC', jitterMs: 600_000 };
  const noon = Date.parse('2026-01-10T12:00:00Z');

  it('is the same each time, below the jitter, and skips no run', () => {
    const first = nextRun(schedule, 'node-1', noon - 1);
    expect(first - noon).toBeGreaterThanOrEqual(0);
    expect(first - noon).toBeLessThan(600_000);
    expect(nextRun(schedule, 'node-1', first - 1)).toBe(first);
    expect(nextRun(schedule, 'node-1', first)).toBe(first + 3_600_000);
  });

  it('spreads the nodes', () => {
    const shares = Array.from({ length: 200 }, (_, i) => (nextRun(schedule, `node-${i}`, noon - 1) - noon) / 600_000);
    for (const quarter of [0, 0.25, 0.5, 0.75]) {
      const inside = shares.filter((share) => share >= quarter && share < quarter + 0.25).length;
      expect(inside).toBeGreaterThan(25);
    }
  });
});

describe('a schedule is refused', () => {
  it.each([
    ['* * * *', 'exactly five fields'],
    ['* * * * * *', 'exactly five fields'],
    ['@daily * * * *', 'numbers, names'],
    ['H * * * *', 'numbers, names'],
    ['0 0 L * *', 'numbers, names'],
    ['0 0 ? * *', 'numbers, names'],
    ['60 * * * *', '60'],
    ['5-1 * * * *', '5-1'],
    ['*/0 * * * *', '0'],
    ['0 0 31 2 *', 'day of month'],
    ['0 0 31 4,6 *', 'day of month'],
  ])('for %s', (cron, told) => {
    expect(scheduleProblem({ cron, timeZone: 'UTC', jitterMs: 0 })).toMatchObject({ field: 'cron', message: expect.stringContaining(told) });
  });

  it('for a zone that is none', () => {
    expect(scheduleProblem({ cron: '* * * * *', timeZone: 'Mars/Olympus', jitterMs: 0 })).toEqual({
      field: 'timeZone', message: '"Mars/Olympus": timeZone must be an IANA time zone name, such as Europe/Berlin',
    });
  });

  it('for nothing else', () => {
    for (const cron of ['*/15 * * * *', '30 2 * * 1-5', '0 0 1 JAN,jul *', '0 0 * * 7', '0 0 29 2 *', '0  0  *  *  sun']) {
      expect(scheduleProblem({ cron, timeZone: 'Europe/Berlin', jitterMs: 0 })).toBeUndefined();
    }
  });
});

describe('a list that names a value twice', () => {
  it.each([
    ['1,1,1 * * * *', '1 * * * *'],
    ['1,1-3 * * * *', '1-3 * * * *'],
    ['*/15,0 * * * *', '*/15 * * * *'],
    ['0 5,5,4-6/2 * * *', '0 4,5,6 * * *'],
    ['0 0 * * 0,7', '0 0 * * SUN'],
    ['0 0 * * MON,1,mon-tue', '0 0 * * MON,TUE'],
    ['0 0 1,1 * 1,1', '0 0 1 * 1'],
    ['*,* * * * *', '* * * * *'],
    ['0 0 * JAN,1-2 *', '0 0 * 1,2 *'],
  ])('%s means %s', (cron, same) => {
    expect(scheduleProblem({ cron, timeZone: 'UTC', jitterMs: 0 })).toBeUndefined();
    expect(runs(cron, 'Europe/Berlin', '2026-01-10T12:00:00Z', 12)).toEqual(runs(same, 'Europe/Berlin', '2026-01-10T12:00:00Z', 12));
  });

  it.each(['1,,2 * * * *', ', * * * *', '1, * * * *', '1,60 * * * *', '0 0 * * 1,8'])('is not made right by that: %s', (cron) => {
    expect(scheduleProblem({ cron, timeZone: 'UTC', jitterMs: 0 })).toMatchObject({ field: 'cron' });
  });
});

describe('a jitter', () => {
  const [minute, hour, day] = [60_000, 3_600_000, 86_400_000];

  it.each<[string, number]>([
    ['* * * * *', minute],
    ['*/15 * * * *', 15 * minute],
    ['*/7 * * * *', 4 * minute],
    ['0 3 * * *', day],
    ['0 3,4 * * *', hour],
    ['0 0 * * SAT,SUN', day],
    ['0 0 1 * *', 28 * day],
    ['0 0 1,31 * *', day],
    ['0 23 31 12 *', 365 * day],
  ])('of %s is at most the shortest time between two runs', (cron, gapMs) => {
    expect(scheduleProblem({ cron, timeZone: 'UTC', jitterMs: gapMs })).toBeUndefined();
    expect(scheduleProblem({ cron, timeZone: 'UTC', jitterMs: gapMs + 1_000 })).toMatchObject({ field: 'jitter' });
  });

  it('that is too long is refused with what may be written', () => {
    expect(scheduleProblem({ cron: '*/15 * * * *', timeZone: 'UTC', jitterMs: 2 * hour })).toEqual({
      field: 'jitter', message: 'jitter 2h is longer than the 15m between two runs of "*/15 * * * *"; write at most 15m',
    });
  });
});
