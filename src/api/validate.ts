import { cachePolicySchema } from './cachepolicy-schema.gen.ts';
import type { CachePolicy } from './cachepolicy.gen.ts';
import { checkRules } from './cel-rules.ts';
import type { CrdSchema } from './crd-schema.ts';
import { checkSchema } from './crd-schema.ts';
import { apiVersion } from './names.ts';
import type { Problem } from './problem.ts';
import { formatPath, quote } from './problem.ts';

export type Validated = { readonly policy: CachePolicy; readonly problems?: never } | { readonly policy?: never; readonly problems: readonly Problem[] };

/** Checks an object as an API server with this CRD would, by running the CRD itself, and fills in the defaults. Changes `value`. */
export function validatePolicy(value: unknown): Validated {
  const identity = identityProblem(value);
  if (identity !== undefined) return { problems: [identity] };
  const schema = cachePolicySchema as CrdSchema;
  const schemaProblems = checkSchema(schema, value);
  const broken = checkRules(schema, value, schemaProblems.filter((problem) => problem.wrongShape));
  // A rule's message says what is allowed in words; a bound on the same field adds nothing.
  const saidBetter = new Set(broken.map(({ path }) => formatPath(path)));
  const problems = [...schemaProblems.filter(({ path }) => !saidBetter.has(formatPath(path))), ...broken];
  return problems.length > 0 ? { problems } : { policy: value as CachePolicy };
}

function identityProblem(value: unknown): Problem | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { path: [], message: `a CachePolicy is an object that starts with apiVersion: ${apiVersion}` };
  }
  const object = value as Record<string, unknown>;
  if (object['kind'] !== 'CachePolicy') return { path: ['kind'], message: `${named(object['kind'])}; only CachePolicy is read here` };
  if (object['apiVersion'] !== apiVersion) return { path: ['apiVersion'], message: `${named(object['apiVersion'])}; write ${apiVersion}` };
  const { name } = (object['metadata'] ?? {}) as { name?: unknown };
  if (typeof name !== 'string' || name === '') return { path: ['metadata', 'name'], message: `${named(name)}; write a name, such as a3s-box` };
  return undefined;
}

function named(value: unknown): string {
  return value === undefined ? 'Required value is missing' : `Unsupported value ${quote(value)}`;
}
