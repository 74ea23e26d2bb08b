import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseDuration } from '../../src/api/duration.ts';
import { parseQuantity } from '../../src/api/quantity.ts';
import { planFreeSpace } from '../../src/policy/free-space.ts';
import { pinText } from '../../src/policy/keep.ts';
import type { Plan } from '../../src/policy/plan.ts';
import { planEviction } from '../../src/policy/plan.ts';
import { entry, heldBy, hour, now, planInput } from './builders.ts';

/** One folder a decision, named by the sentence it shows: input.yaml as a person would describe it, plan.txt as it was decided. */
const goldenDir = join(import.meta.dirname, '../golden/plan');

interface Case {
  limits: { maxEntries?: number; maxBytes?: string; maxIdle?: string; minFree?: string; headroomPercent?: number };
  /** As statfs says it; what is missing of minFree has to go. */
  disk?: { capacity: string; available: string };
  minIdle?: string;
  inUse?: Record<string, string>;
  keep?: { key?: string; description?: string; hoursLeft?: number; reason?: string }[];
  entries: { key: string; used: string; size: string; clockAhead?: boolean }[];
}

function planOf(file: string): Plan {
  const { limits, minIdle = '60s', inUse = {}, keep = [], disk, entries } = parse(readFileSync(file, 'utf8')) as Case;
  const made = entries.map(({ key, used, size, clockAhead = false }) =>
    entry(key, { idleMs: parseDuration(used) ?? NaN, sizeBytes: parseQuantity(size) ?? NaN, clockAhead }));
  const holds = Object.entries(inUse).map(([key, box]) => heldBy(box, key));
  const input = planInput(made, {
    maxEntries: limits.maxEntries ?? null,
    maxBytes: limits.maxBytes === undefined ? null : (parseQuantity(limits.maxBytes) ?? NaN),
    maxIdleMs: limits.maxIdle === undefined ? null : (parseDuration(limits.maxIdle) ?? NaN),
    minFree: limits.minFree === undefined ? null : { count: parseQuantity(limits.minFree) ?? NaN },
    headroomPercent: limits.headroomPercent ?? 0,
    minIdleMs: parseDuration(minIdle) ?? NaN,
    keep: keep.map(({ key, description = '', hoursLeft, reason = '' }) => ({
      ...(key === undefined ? { by: 'description', pattern: description } : { by: 'key', pattern: key }), untilMs: hoursLeft === undefined ? null : now + hoursLeft * hour, reason,
    })),
    holds: { entries: new Map(holds.flatMap((hold) => [...hold.entries])), byDescription: new Map(), everything: undefined, sources: ['Box'] },
  });
  const plan = planEviction(input);
  if (disk === undefined) return plan;
  const filesystem = { capacityBytes: parseQuantity(disk.capacity) ?? NaN, availableBytes: parseQuantity(disk.available) ?? NaN };
  return planFreeSpace(filesystem, [{ limits: input.limits, plan, trashBytes: 0 }])[0]!.plan;
}

function describePlan(plan: Plan): string {
  const { inUse, kept, recent } = plan.held;
  return [
    ...[...plan.verdicts].map(({ entry: { key }, verdict, reason, detail }) => `${verdict} ${key}  ${reason}: ${detail}`),
    `before ${plan.before.entryCount} entries, ${plan.before.totalBytes} bytes`,
    `after  ${plan.after.entryCount} entries, ${plan.after.totalBytes} bytes`,
    `held   in use ${inUse.entries} (${inUse.bytes} bytes), kept ${kept.entries} (${kept.bytes} bytes), recent ${recent.entries} (${recent.bytes} bytes)`,
    ...plan.unreachable.map(({ limit, allowed, remaining, because }) => `unreachable ${limit}${because === undefined ? '' : ` (${because})`}: ${remaining} left, ${allowed} allowed`),
    ...plan.expiredPins.map((pin) => `expired ${pinText(pin)}`),
    '',
  ].join('\n');
}

describe('golden plans', () => {
  for (const name of readdirSync(goldenDir).toSorted()) {
    it(name.replaceAll('-', ' '), () => {
      const decided = describePlan(planOf(join(goldenDir, name, 'input.yaml')));
      const file = join(goldenDir, name, 'plan.txt');
      if (process.env['GOLDEN'] === 'update') writeFileSync(file, decided);
      expect(decided).toBe(existsSync(file) ? readFileSync(file, 'utf8') : 'no golden file yet; write it with: make golden');
    });
  }
});
