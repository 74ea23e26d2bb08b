import { Ajv } from 'ajv';
import type { ErrorObject, ValidateFunction } from 'ajv';
import type { FieldPath, Problem } from './problem.ts';
import { formatPath, quote } from './problem.ts';

/** The part of a structural schema that is read here; every other keyword is JSON Schema. */
export interface CrdSchema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, CrdSchema>>;
  readonly additionalProperties?: CrdSchema;
  readonly items?: CrdSchema;
  readonly default?: unknown;
  readonly 'x-kubernetes-int-or-string'?: boolean;
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly { readonly rule: string; readonly message: string }[];
}

export interface SchemaProblem extends Problem {
  /** The value has the wrong shape, so that rules about it cannot run; else they do, and speak better. */
  readonly wrongShape: boolean;
}

/** The keywords after which the API server still runs the rules. */
const bounds = new Set(['minLength', 'minimum', 'maximum', 'minItems', 'minProperties', 'pattern']);

/** Fills in defaults, in place, and checks as the API server does with field validation Strict: types, bounds, unknown fields, keys of lists. */
export function checkSchema(schema: CrdSchema, value: unknown): SchemaProblem[] {
  dropNulls(schema, value);
  const validate = compiled(schema);
  validate(value);
  const problems = (validate.errors ?? []).map((error) => ({ ...toProblem(error, value), wrongShape: !bounds.has(error.keyword) }));
  visit(schema, value, [], (at, found, path) => problems.push(...duplicateKeys(at, found, path)));
  // The first of a field says enough: what has the wrong type is also none of the allowed values.
  return problems.filter(({ path }, i) => problems.findIndex((other) => formatPath(other.path) === formatPath(path)) === i);
}

/**
 * Most runs of the command line validate one policy, so what counts is the time to compile the schema: the schema is our own and is checked
 * against the meta-schema by a test, and code that runs once is not optimised first. Together 80 of 130 ms.
 */
const ajvOptions = {
  allErrors: true, verbose: true, strict: false, useDefaults: true, validateFormats: false, validateSchema: false, meta: false, code: { optimize: false },
} as const;

const validators = new WeakMap<CrdSchema, ValidateFunction>();

function compiled(schema: CrdSchema): ValidateFunction {
  let validate = validators.get(schema);
  if (validate === undefined) {
    validate = new Ajv(ajvOptions).compile(toJsonSchema(schema) as object);
    validators.set(schema, validate);
  }
  return validate;
}

/** Calls for every part of a value that the schema describes, with its path. */
export function visit(schema: CrdSchema, value: unknown, path: FieldPath, see: (schema: CrdSchema, value: unknown, path: FieldPath) => void): void {
  see(schema, value, path);
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items) value.forEach((item, i) => visit(items, item, [...path, i], see));
  } else if (isObject(value)) {
    for (const [name, child] of Object.entries(value)) {
      const childSchema = own(schema.properties, name) ?? schema.additionalProperties;
      if (childSchema) visit(childSchema, child, [...path, name], see);
    }
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function own<T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}

/** The API server takes a field without a value (`mode:`) as absent. [tried on 1.36] */
function dropNulls(schema: CrdSchema, value: unknown): void {
  visit(schema, value, [], ({ properties }, found) => {
    if (!isObject(found)) return;
    for (const name of Object.keys(found)) if (found[name] === null && own(properties, name) !== undefined) delete found[name];
  });
}

/** Kubernetes' dialect as plain JSON Schema. Without properties of its own an object is free (metadata). */
function toJsonSchema(schema: CrdSchema): unknown {
  const { properties, items, additionalProperties, ...rest } = schema;
  return {
    ...Object.fromEntries(Object.entries(rest).filter(([keyword]) => !keyword.startsWith('x-kubernetes-'))),
    ...(schema['x-kubernetes-int-or-string'] && { type: ['integer', 'string'] }),
    ...(properties && { properties: mapValues(properties, toJsonSchema), additionalProperties: false }),
    ...(additionalProperties && { additionalProperties: toJsonSchema(additionalProperties) }),
    ...(items && { items: toJsonSchema(items) }),
  };
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, map: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value)]));
}

function duplicateKeys(schema: CrdSchema, value: unknown, path: FieldPath): SchemaProblem[] {
  const keys = schema['x-kubernetes-list-map-keys'];
  if (keys === undefined || !Array.isArray(value)) return [];
  const seen = new Set<string>();
  return value.flatMap((item: unknown, i): SchemaProblem[] => {
    const id = keys.map((key) => quote(isObject(item) ? item[key] : undefined)).join(', ');
    if (seen.has(id)) return [{ path: [...path, i], message: `Duplicate value ${id}; ${keys.join(' and ')} may stand once`, wrongShape: false }];
    seen.add(id);
    return [];
  });
}

/** In our words, as near to the API server's as a sentence allows. */
function toProblem(error: ErrorObject, root: unknown): Problem {
  const path = toPath(error.instancePath, root);
  const { keyword, params, data } = error;
  const fields = Object.keys((error.parentSchema as CrdSchema | undefined)?.properties ?? {}).join(', ');
  switch (keyword) {
    case 'additionalProperties':
      return { path: [...path, String(params['additionalProperty'])], message: `unknown field; allowed here: ${fields}` };
    case 'required':
      return { path: [...path, String(params['missingProperty'])], message: 'Required value is missing' };
    case 'type':
      return { path, message: `${quote(data)} must be of type ${[params['type']].flat().join(' or ')}` };
    case 'enum':
      return { path, message: `Unsupported value ${quote(data)}; write ${(params['allowedValues'] as unknown[]).join(' or ')}` };
    case 'minimum':
      return { path, message: `${quote(data)} should be greater than or equal to ${params['limit']}` };
    case 'maximum':
      return { path, message: `${quote(data)} should be less than or equal to ${params['limit']}` };
    case 'minLength':
      return { path, message: `${quote(data)} should be at least ${params['limit']} chars long` };
    case 'maxLength':
      return { path, message: `${quote(data)} may not be more than ${params['limit']} bytes` };
    case 'minItems':
      return { path, message: `should have at least ${params['limit']} items` };
    case 'maxItems':
      return { path, message: `must have at most ${params['limit']} items` };
    case 'minProperties':
      return { path, message: `should have at least ${params['limit']} of ${fields}` };
    case 'pattern':
      return { path, message: `${quote(data)} should match '${params['pattern']}'` };
    default:
      return { path, message: `${quote(data)} ${error.message ?? 'is not allowed'}` };
  }
}

/** A JSON pointer's steps are all text; which of them are indices shows the value. */
function toPath(pointer: string, root: unknown): FieldPath {
  const path: (string | number)[] = [];
  let at = root;
  for (const step of pointer.split('/').slice(1).map((text) => text.replaceAll('~1', '/').replaceAll('~0', '~'))) {
    path.push(Array.isArray(at) ? Number(step) : step);
    at = (at as Record<string, unknown> | undefined)?.[step];
  }
  return path;
}
