/** What `cachepolicy stats` takes from its start to its exit, against a program that reads and parses every metadata file and adds up the sizes. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cache } from '../../src/cache/pass.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import type { Measurement } from './bench.ts';
import { full, quantile } from './bench.ts';
import { anyScratch, makeHome } from './places.ts';

const rounds = full ? 11 : 5;
const untilSettledMs = 3_000;
const command = join(import.meta.dirname, '../../dist/cachepolicy.cjs');

const plainProgram = `
const { readdirSync, readFileSync } = require('node:fs');
const root = process.argv[1];
let [entries, bytes] = [0, 0];
for (const name of readdirSync(root)) {
  if (!name.endsWith('.meta.json')) continue;
  entries += 1;
  bytes += JSON.parse(readFileSync(root + '/' + name, 'utf8')).size_bytes;
}
console.log(entries, bytes);`;

/** @param hasIndex as an agent leaves it that has worked there */
export async function oneShotStats(entries: number, { hasIndex }: { readonly hasIndex: boolean }): Promise<readonly Measurement[]> {
  using scratch = anyScratch();
  const home = makeHome(scratch.path, { entries });
  const root = join(home, 'cache/rootfs');
  if (hasIndex) await leaveIndex(home, root);
  const policy = join(scratch.path, 'policy.yaml');
  writeFileSync(policy, `apiVersion: cache.a3s.dev/v1alpha1
kind: CachePolicy
metadata: {name: bench}
spec:
  caches:
  - {name: rootfs, a3sBox: {home: ${home}, store: Rootfs}, limits: {maxEntries: ${entries}}}
`);
  const programs = [
    [command, 'stats', '-f', policy, '--allowed-root', scratch.path],
    ['-e', plainProgram, root],
  ] as const;
  const times: readonly [number[], number[]] = [[], []];
  for (let round = 0; round <= rounds; round += 1) {
    for (const which of round % 2 === 0 ? [0, 1] : [1, 0]) {
      const tookMs = timed(programs[which] as readonly string[], entries);
      // The first of each warms the caches.
      if (round > 0) times[which]?.push(tookMs);
    }
  }
  const [ours, plain] = times;
  return [{ value: quantile(ours, 0.5), unit: 'ms', baseline: { what: 'read and parse each, in a process of its own', value: quantile(plain, 0.5) }, note: `${rounds} pairs, processor time` }];
}

async function leaveIndex(home: string, root: string): Promise<void> {
  await sleep(untilSettledMs);
  using cache = new Cache({ name: 'rootfs', format: 'a3s-rootfs', root, home, limits: noLimits, protect: noProtection }, { allowedRoots: [join(home, '..')], remembers: true });
  // The first pass makes our folder, which changes the root: once that has settled it is saved with the index.
  await cache.pass({ mode: 'Enforce', trigger: 'Manual' });
  await sleep(untilSettledMs);
  await cache.scan();
  await cache.save();
}

/** Processor time of one run in ms: the wall time of a whole process says more about the machine's other work. */
function timed(args: readonly string[], entries: number): number {
  const { stdout, stderr, status } = spawnSync('sh', ['-c', 'exec 3>&1; "$@" >&3; times >&2', 'sh', process.execPath, ...args], { encoding: 'utf8' });
  if (status !== 0 || !stdout.includes(String(entries))) throw new Error(`${args.join(' ')}: ${stdout}${stderr}`);
  return childTimeMs(stderr);
}

function childTimeMs(stderr: string): number {
  const last = stderr.trim().split('\n').at(-1) ?? '';
  const [user, system] = [...last.matchAll(/(\d+)m([\d.]+)s/g)].map(([, minutes, seconds]) => (Number(minutes) * 60 + Number(seconds)) * 1000);
  if (user === undefined || system === undefined) throw new Error(`no times in ${JSON.stringify(last)}`);
  return user + system;
}
