/**
 * `make bench-cluster`: a fleet of thousands of agents, a control plane and a controller, on this machine. Prints every figure beside its target, and writes
 * them to bench-cluster.json. SCALE=small for a quick look; PARTS=fleet,policy,many,large for some of it.
 */
import { cpus, totalmem } from 'node:os';
import fse from 'fs-extra';
import { stderrLog } from '../cluster/log.ts';
import { benchFleet } from './fleet-bench.ts';
import { benchLarge } from './large-bench.ts';
import { benchMany } from './many-bench.ts';
import { benchPolicyChange } from './policy-bench.ts';
import { holds, table } from './rows.ts';
import type { Row } from './rows.ts';

// A quiet node reports every five minutes: as long a look sees each of them once.
const full = {
  fleet: { nodes: 5_000, reportsPerSecond: 20, busySeconds: 60, quietSeconds: 300 },
  policy: { watches: 500, changes: 10 },
  many: { policies: 1_000, changes: 20, intruders: 500 },
  large: { reports: 100_000 },
};
const small: typeof full = {
  fleet: { nodes: 200, reportsPerSecond: 5, busySeconds: 20, quietSeconds: 30 },
  policy: { watches: 50, changes: 3 },
  many: { policies: 100, changes: 3, intruders: 50 },
  large: { reports: 5_000 },
};

const scale = process.env['SCALE'] === 'small' ? small : full;
const parts: Readonly<Record<keyof typeof full, () => Promise<Row[]>>> = {
  fleet: () => benchFleet(scale.fleet, stderrLog),
  policy: () => benchPolicyChange(scale.policy, stderrLog),
  many: () => benchMany(scale.many, stderrLog),
  large: () => benchLarge(scale.large, stderrLog),
};
const chosen = (process.env['PARTS'] ?? Object.keys(parts).join()).split(',') as (keyof typeof parts)[];

const machine = { cpus: cpus().length, memoryGiB: Math.round(totalmem() / 2 ** 30), node: process.version };
const rows: Row[] = [];
let failed = false;
for (const part of chosen) {
  rows.push(...(await parts[part]().catch(giveUp)));
  // After each: what has been measured is not lost with the next.
  fse.writeJsonSync('bench-cluster.json', { at: new Date().toISOString(), machine, scale: process.env['SCALE'] ?? 'full', rows }, { spaces: 2 });
}
console.log(table(rows));
process.exit(!failed && rows.every(holds) ? 0 : 1);

/** With everything that went wrong, also while all was taken down again. */
function giveUp(error: unknown): Row[] {
  for (let each = error; each !== undefined; each = each instanceof SuppressedError ? each.suppressed : undefined) console.error(each instanceof SuppressedError ? each.error : each);
  failed = true;
  return [];
}
