import type { CompiledCache, Mode } from '../policy/compiled.ts';
import { placeOf } from '../api/cache-place.ts';
import { openCacheRoot } from '../cache/cache-root.ts';
import { openFormat } from '../cache/formats/registry.ts';
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
  'ERR_PATH_NOT_ALLOWED', 'ERR_ROOT_MISSING', 'ERR_ROOT_SYMLINK', 'ERR_ROOT_NOT_DIRECTORY', 'ERR_ROOT_NEAR_HOME', 'ERR_ROOT_KNOWN_LAYOUT', 'ERR_ROOT_UNSUPPORTED',
]);

/**
 * Every cache of every policy in the files, after a look at each directory: one that is wrong stops all, before any is touched.
 * @throws InputError, ERR_INPUT_UNREADABLE
 */
export async function openTargets({ file, allowedRoot }: TargetOptions): Promise<{ targets: readonly Target[]; policies: readonly LoadedPolicy[] }> {
  const policies = await loadPolicies(file, allowedRoot);
  const mistakes = policies.flatMap((loaded) =>
    loaded.policy.spec.caches.flatMap((cache, i) => {
      const compiled = loaded.compiled.caches[i];
      const problem = compiled && problemOfPath(compiled, allowedRoot);
      return problem === undefined ? [] : [loaded.problemAt(['spec', 'caches', i, ...placeOf(cache).rootField], problem)];
    }),
  );
  if (mistakes.length > 0) throw new InputError(mistakes);
  const targets = policies.flatMap(({ compiled }) => compiled.caches.map((cache) => ({ policyName: compiled.policy.name, mode: compiled.mode, cache })));
  return { targets, policies };
}

/** What is wrong with a cache's directory that only another path or another policy mends. */
export function problemOfPath({ root, format }: Pick<CompiledCache, 'root' | 'format'>, allowedRoots: readonly string[]): string | undefined {
  try {
    openCacheRoot(root, openFormat(format), { allowedRoots, lookInside: true })[Symbol.dispose]();
    return undefined;
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    // Anything else may pass, and is reported where it then happens.
    const hint = format === 'directory' ? error.hint : (storeHints[error.code] ?? error.hint);
    return wrongPath.has(error.code) ? `${error.message}; ${hint}` : undefined;
  }
}

const storeHints: Partial<Record<ErrorCode, string>> = {
  ERR_ROOT_MISSING: 'name the home of an A3S Box runtime that has filled this store, or leave the cache out',
};

/** Heading of a cache in text: the policy's name stands only where there are several. */
export function titleOf({ policyName, cache }: Target, targets: readonly Target[]): string {
  return targets.some((other) => other.policyName !== policyName) ? `${policyName}/${cache.name}` : cache.name;
}
