import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { MutatorOptions, MutatorResult } from './mutator.ts';
import type { Soak, SoakFigure } from './soak.ts';
import { atLeast, atMost, exactly, TemporaryDir, told } from './soak.ts';

const repository = join(import.meta.dirname, '../..');

export interface MutateOptions {
  readonly seconds: number;
  readonly seed: number;
  /** The module that is the command. */
  readonly program?: string;
  readonly progress?: (text: string) => void;
}

/**
 * Mutates three caches beside a standalone agent, for so many seconds. Needs root. Mounts and processes live in namespaces of their own,
 * which end with the first process in them.
 */
export async function mutate({ seconds, seed, program = join(repository, 'src/main.ts'), progress }: MutateOptions): Promise<MutatorResult> {
  using scratch = new TemporaryDir();
  const options: MutatorOptions = { scratch: scratch.path, program, seconds, seed };
  const namespaces = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const child = spawn('unshare', [...namespaces, process.execPath, join(import.meta.dirname, 'mutator.ts'), JSON.stringify(options)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let result: MutatorResult | undefined;
  child.on('message', (message: MutatorResult | string) => {
    if (typeof message === 'string') progress?.(message);
    else result = message;
  });
  const [code, signal] = await once(child, 'close') as [number | null, string | null];
  if (result === undefined) throw new Error(`the mutator ended with ${code ?? signal} and without a result`);
  return result;
}

export function figuresOf(result: MutatorResult): SoakFigure[] {
  return [
    exactly('harm to canaries, entries in use and entries outside', result.harm.length, 0),
    ...result.harm.slice(0, 5).map((harm) => told('', harm)),
    exactly('ends of the agent without a kill', result.ends.length, 0),
    ...result.ends.slice(0, 3).map((end) => told('', end)),
    exactly('caches outside their limit at the end', result.stuck.length, 0),
    ...result.stuck.map((stuck) => told('', stuck)),
    atMost('growth of open files', result.growth.handles, 8),
    atMost('growth of memory, MiB', result.growth.memoryMiB, 48),
    atMost('log lines per mutation, in percent', 100 * result.logLines / Math.max(1, result.mutations), 200),
    told('mutations', result.mutations),
    told('of each kind', Object.entries(result.kinds).map(([kind, count]) => `${kind} ${count}`).join(', ')),
    told('entries added, evicted', `${result.added}, ${result.evicted}`),
    told('log lines, KiB', `${result.logLines}, ${Math.round(result.logBytes / 1024)}`),
    told('memory of the agent at the end, MiB', Math.round(result.memoryMiB)),
  ];
}

export const mutations: Soak = {
  name: 'mutations',
  about: 'links, renames, cut files, owners, mounts, stopped lock holders, a full disk and kills, beside a standalone agent with canaries outside',
  run: async ({ seed, scale, progress }) => {
    const seconds = Math.ceil(1_200 * scale);
    const result = await mutate({ seconds, seed, progress, program: join(repository, 'dist/cachepolicy.cjs') });
    return [...figuresOf(result), atLeast('mutations', result.mutations, seconds)];
  },
};
