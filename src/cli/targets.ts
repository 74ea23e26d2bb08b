import type { CompiledCache, Mode } from '../policy/compiled.ts';
import { openRoot } from '../disk/pinned-root.ts';
import type { ErrorCode } from '../errors.ts';
import { OperatorError } from '../errors.ts';
import { InputError } from './exit.ts';
import type { LoadedPolicy } from './policy-files.ts';
import { loadPolicies } from './policy-files.ts';

/** One cache that a command works on. */
export interface Target {
  readonly policyName: string;
  readonly mode: Mode;
  readonly cache: CompiledCache;
}

export interface TargetOptions {
  readonly file: readonly string[];
  readonly allowedRoot: readonly string[];
}

/** What is wrong with a path rather than with the machine: the policy has to change, or the directory has to come first. */
const wrongPath: ReadonlySet<ErrorCode> = new Set([
  'ERR_PATH_NOT_ALLOWED', 'ERR_ROOT_MISSING', 'ERR_ROOT_SYMLINK', 'ERR_ROOT_NOT_DIRECTORY', 'ERR_ROOT_UNSUPPORTED',
]);

/**
 * Every cache of every policy in the files, after a look at each directory: one that is wrong stops all, before any is touched.
 * @throws InputError, ERR_INPUT_UNREADABLE
 */
export async function openTargets({ file, allowedRoot }: TargetOptions): Promise<{ targets: readonly Target[]; policies: readonly LoadedPolicy[] }> {
  const policies = await loadPolicies(file, allowedRoot);
  const mistakes = policies.flatMap((loaded) =>
    loaded.compiled.caches.flatMap(({ root }, i) => {
      const problem = problemOfPath(root, allowedRoot);
      const field = loaded.policy.spec.caches[i]?.a3sBox.cacheDir === undefined ? 'home' : 'cacheDir';
      return problem === undefined ? [] : [loaded.problemAt(['spec', 'caches', i, 'a3sBox', field], problem)];
    }),
  );
  if (mistakes.length > 0) throw new InputError(mistakes);
  const targets = policies.flatMap(({ compiled }) => compiled.caches.map((cache) => ({ policyName: compiled.policy.name, mode: compiled.mode, cache })));
  return { targets, policies };
}

/** What is wrong with a cache's directory that only another path or another policy mends. */
export function problemOfPath(root: string, allowedRoots: readonly string[]): string | undefined {
  try {
    openRoot(root, { allowedRoots })[Symbol.dispose]();
    return undefined;
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    // Anything else may pass, and is reported where it then happens.
    return wrongPath.has(error.code) ? `${error.message}; ${wrongPathHints[error.code] ?? error.hint}` : undefined;
  }
}

const wrongPathHints: Partial<Record<ErrorCode, string>> = {
  ERR_ROOT_MISSING: 'name the home of an A3S Box runtime that has filled this store, or leave the cache out',
};

/** Heading of a cache in text: the policy's name stands only where there are several. */
export function titleOf({ policyName, cache }: Target, targets: readonly Target[]): string {
  return targets.some((other) => other.policyName !== policyName) ? `${policyName}/${cache.name}` : cache.name;
}
