/** The first process of its own namespaces: an agent, three caches, and what is done to them at random. Sends its result to its parent. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../../src/errors.ts';
import { MutatedAgent } from './mutated-agent.ts';
import { maxEntries, MutatedCaches } from './mutated-caches.ts';
import { Mutator } from './mutating.ts';
import { Random } from './soak.ts';

export interface MutatorOptions {
  readonly scratch: string;
  readonly program: string;
  readonly seconds: number;
  readonly seed: number;
}

export interface MutatorResult {
  readonly harm: readonly string[];
  readonly ends: readonly string[];
  readonly stuck: readonly string[];
  readonly growth: { readonly handles: number; readonly memoryMiB: number };
  readonly memoryMiB: number;
  readonly mutations: number;
  readonly kinds: Readonly<Record<string, number>>;
  readonly added: number;
  readonly evicted: number;
  readonly logLines: number;
  readonly logBytes: number;
}

const policyOf = ({ box, roots }: MutatedCaches) => `apiVersion: cache.a3s.dev/v1alpha1
kind: CachePolicy
metadata: {name: mutated}
spec:
  caches:
  - name: rootfs
    a3sBox: {home: ${box}/home, store: Rootfs}
    limits: {maxEntries: ${maxEntries}}
  - name: shared
    directory: {path: ${roots[1]}}
    limits: {maxEntries: ${maxEntries}}
  - name: models
    directory: {path: ${roots[2]}}
    limits: {maxEntries: ${maxEntries}}
`;

async function main({ scratch, program, seconds, seed }: MutatorOptions): Promise<void> {
  process.on('disconnect', () => process.exit(1));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m,nr_inodes=20000,mode=755', 'tmpfs', scratch]);
  const random = new Random(seed);
  const caches = new MutatedCaches(scratch);
  const policy = join(scratch, 'policy.yaml');
  writeFileSync(policy, policyOf(caches));
  const agent = new MutatedAgent([program, 'agent', '-f', policy, '--allowed-root', caches.box, '--settle', '1s', '--rest', '1s']);
  const mutator = new Mutator(scratch, random, caches, agent);
  const harm = new Set<string>();
  const startMs = Date.now();
  const passed = () => (Date.now() - startMs) / 1_000;
  for (let round = 0; passed() < seconds && harm.size === 0; round += 1) {
    mutator.mutateOnce(passed() < seconds / 3 && random.chance(0.3));
    mutator.undo();
    if (round % 10 === 0) {
      try {
        caches.add(random);
      } catch (error) {
        if (errnoOf(error) === undefined) throw error;
      }
      agent.sample();
      for (const each of [...caches.harm(), ...mutator.harm]) harm.add(each);
    }
    if (round % 1_000 === 999) process.send?.(`${mutator.mutations} mutations, ${caches.added} added, ${agent.logLines} log lines, ${Math.round(agent.memoryMiB)} MiB, ${agent.ends.length} ends`);
    await sleep(random.below(60));
  }
  mutator.undoAll();
  // What was measured before the end is what grows; a fresh start of the caches is none of it.
  const { growth, memoryMiB } = agent;
  // What it made or removed meanwhile would stand in the way.
  agent.signal('SIGSTOP');
  await sleep(100);
  caches.startAfresh(random);
  agent.signal('SIGCONT');
  for (let waits = 0; waits < 90 && caches.stuck().length > 0; waits += 1) await sleep(1_000);
  for (const each of [...caches.harm(), ...mutator.harm]) harm.add(each);
  const { ends, logLines, logBytes, evicted } = agent;
  agent.kill();
  const result: MutatorResult = {
    harm: [...harm], ends, stuck: caches.stuck(), growth, memoryMiB, mutations: mutator.mutations, kinds: mutator.kinds, added: caches.added, evicted, logLines, logBytes,
  };
  process.send?.(result, () => process.exit(0));
}

if (process.send !== undefined) await main(JSON.parse(process.argv[2] ?? '') as MutatorOptions);
