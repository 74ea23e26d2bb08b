import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import type { CachePolicy } from '../api/cachepolicy.gen.ts';
import { placeOf } from '../api/cache-place.ts';
import { overlap } from '../api/paths.ts';
import { parsePolicyDocuments } from '../api/policy-documents.ts';
import type { FieldPath } from '../api/problem.ts';
import { formatPath, parsePath } from '../api/problem.ts';
import { validatePolicy } from '../api/validate.ts';
import { errnoOf, messageOf, OperatorError } from '../errors.ts';
import { refusals } from '../policy/acceptance.ts';
import { compilePolicy } from '../policy/compile.ts';
import type { CompiledPolicy } from '../policy/compiled.ts';
import { InputError } from './exit.ts';

/** A policy from a file that is right in all that can be known without looking at the disk. */
export interface LoadedPolicy {
  readonly policy: CachePolicy;
  readonly compiled: CompiledPolicy;
  /** One line about a field of it: `policy.yaml:9: spec.caches[0].limits: …`. */
  problemAt(path: FieldPath, message: string): string;
}

/** No CachePolicy comes near this, and no API server takes more. */
const maxFileBytes = 3 * 2 ** 20;

/**
 * Reads every policy of the files (`-` is standard input) and checks them all before any is used.
 * @throws InputError with a line for each mistake; ERR_INPUT_UNREADABLE
 */
export async function loadPolicies(files: readonly string[], allowedRoots: readonly string[]): Promise<readonly LoadedPolicy[]> {
  const loaded: LoadedPolicy[] = [];
  const mistakes: string[] = [];
  for (const file of files) {
    const name = file === '-' ? 'standard input' : file;
    const { documents, problems } = parsePolicyDocuments(await readText(file, name));
    mistakes.push(...problems.map(({ line, message }) => `${name}:${line}: ${message}`));
    if (documents.length === 0 && problems.length === 0) mistakes.push(`${name}: holds no CachePolicy; it is empty`);
    for (const document of documents) {
      const problemAt = (path: FieldPath, message: string): string => {
        const field = path.length > 0 ? `${formatPath(path)}: ` : '';
        return `${name}:${document.lineOf(path)}: ${field}${message}`;
      };
      const { policy, problems: wrong } = validatePolicy(document.value);
      if (wrong) mistakes.push(...wrong.map(({ path, message }) => problemAt(path, message)));
      if (policy === undefined) continue;
      const refused = await refusals(policy, allowedRoots);
      mistakes.push(...refused.map(({ field, message }) => problemAt(parsePath(field), message)));
      loaded.push({ policy, compiled: compilePolicy(policy, { accepted: true }), problemAt });
    }
  }
  mistakes.push(...clashes(loaded));
  if (mistakes.length > 0) throw new InputError(mistakes);
  return loaded;
}

/** On one machine every policy applies, whatever nodes it selects: none may name what another governs. */
function clashes(loaded: readonly LoadedPolicy[]): string[] {
  return loaded.flatMap(({ policy, problemAt }, i) => {
    const earlier = loaded.slice(0, i);
    const namesake = earlier.some((other) => other.policy.metadata.name === policy.metadata.name);
    if (namesake) return [problemAt(['metadata', 'name'], `"${policy.metadata.name}" stands twice; each policy needs a name of its own`)];
    return policy.spec.caches.flatMap((cache, n) => {
      const place = placeOf(cache);
      const other = earlier.find(({ compiled }) => compiled.caches.some((each) => overlap(each, place)));
      if (other === undefined) return [];
      const message = `policy ${other.policy.metadata.name} governs ${place.root} too; on one machine, name it in one policy only`;
      return [problemAt(['spec', 'caches', n, ...place.rootField], message)];
    });
  });
}

async function readText(file: string, name: string): Promise<string> {
  let bytes: Buffer;
  try {
    // As a stream: Node has made the pipe non-blocking, so that a plain read would take a slow writer for an error.
    bytes = file === '-' ? await buffer(process.stdin) : await readFile(file);
  } catch (error) {
    throw new OperatorError('ERR_INPUT_UNREADABLE', `${name}: ${reasons[errnoOf(error) ?? ''] ?? messageOf(error)}`, { cause: error });
  }
  if (bytes.length > maxFileBytes) throw new InputError([`${name}: is larger than ${maxFileBytes / 2 ** 20}Mi; that is no CachePolicy`]);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new InputError([`${name}: is not UTF-8 text; that is no CachePolicy`]);
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'is a directory',
  ENOTDIR: 'no such file',
};
