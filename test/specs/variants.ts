/** Values at the bounds of every field of a CachePolicy's spec, made from the schema of the CRD itself: a new field is among them from its first day. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { cachePolicySchema } from '../../src/api/cachepolicy-schema.gen.ts';
import { parsePolicyDocuments } from '../../src/api/policy-documents.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';

export type Spec = PolicyObject['spec'];

interface Schema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly pattern?: string;
  readonly default?: unknown;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly 'x-kubernetes-int-or-string'?: boolean;
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly { readonly rule: string }[];
}

/** One field of a spec with another value. Whether the API server takes it is for that to say. */
export interface Variant {
  /** Such as `caches[0].limits.maxEntries`. */
  readonly field: string;
  readonly value: unknown;
  applyTo(spec: Spec): Spec;
}

type Path = readonly (string | number)[];

const specSchema = (cachePolicySchema as { properties: Record<string, Schema> }).properties['spec'] as Schema;
const samplesOfPattern = 3;
const mostExamples = 12;
const anotherItem = 3;
const surroundings = [0, 1, 2, anotherItem];

/** The specs of test/manifests/valid: values that no generator would come upon, such as time zones and crons. */
const examples: readonly Spec[] = globSync('*.yaml', { cwd: join(import.meta.dirname, '../manifests/valid') }).toSorted()
  .flatMap((file) => parsePolicyDocuments(readFileSync(join(import.meta.dirname, '../manifests/valid', file), 'utf8')).documents.map(({ value }) => (value as { spec: Spec }).spec));

/** Every variant of every field of a spec, and each spec of test/manifests/valid as a whole. */
export function specVariants(base: Spec): readonly Variant[] {
  const whole = examples.map((spec, index) => ({ field: `(example ${index})`, value: spec, applyTo: () => structuredClone(spec) }));
  const all = [...variantsOf(specSchema, []), ...whole];
  return [...new Map(all.map((each) => [`${each.field} ${JSON.stringify(each.applyTo(base))}`, each])).values()];
}

function variantsOf(schema: Schema, path: Path): Variant[] {
  const own = unique(valuesOf(schema, path)).flatMap((value) => surroundings.map((surrounding) => variant(path, value, surrounding)));
  const below = [
    ...Object.entries(schema.properties ?? {}).map(([name, child]) => [name, child] as const),
    ...(schema.items ? [[0, schema.items] as const] : []),
  ];
  return [...own, ...below.flatMap(([key, child]) => variantsOf(child, [...path, key]))];
}

function valuesOf(schema: Schema, path: Path): unknown[] {
  if (path.length === 0) return [];
  if (schema.enum) return [...schema.enum];
  if (schema.items) return listsOf(schema, path);
  if (schema.additionalProperties) return mapsOf(schema, path);
  if (schema.properties) return exampleValues(path).slice(0, 2);
  if (schema.type === 'boolean') return [true, false];
  if (schema.type === 'integer') return [schema.minimum, schema.maximum, ...exampleValues(path).slice(0, mostExamples)].filter((value) => value !== undefined);
  return [...(schema['x-kubernetes-int-or-string'] ? [0, 1, 5_000, Number.MAX_SAFE_INTEGER] : []), ...textsOf(schema, path)];
}

/** Such as match the patterns of the schema and its rules; also drawn out to the longest that may be. */
function textsOf(schema: Schema, path: Path): string[] {
  const rules = (schema['x-kubernetes-validations'] ?? []).flatMap(({ rule }) => [...rule.matchAll(/(?<!!)self\.matches\('((?:[^'\\]|\\.)+)'\)/g)].map(([, pattern = '']) => pattern));
  const patterns = [...(schema.pattern === undefined ? [] : [schema.pattern]), ...rules].map((pattern) => new RegExp(pattern));
  const samples = patterns.flatMap((pattern) => fc.sample(fc.stringMatching(pattern), { seed: 1, numRuns: samplesOfPattern }));
  const known = [...exampleValues(path).slice(0, mostExamples), ...(schema.default === undefined ? [] : [schema.default])].filter((value) => typeof value === 'string');
  const longest = [...known, ...samples].map((text) => drawnOut(text, schema.maxLength ?? 0, patterns)).filter((text) => text !== undefined);
  return [...known, ...samples, ...longest.slice(0, 2), ...(patterns.length === 0 ? ['*', '?', 'a b', '"', 'ü'] : [])];
}

function drawnOut(text: string, length: number, patterns: readonly RegExp[]): string | undefined {
  const middle = Math.max(0, text.length - 1);
  const long = text.slice(0, middle) + (text[middle] ?? 'a').repeat(Math.max(1, length - text.length + 1));
  return patterns.every((pattern) => pattern.test(long)) ? long : undefined;
}

function listsOf({ items = {}, maxItems = 1, 'x-kubernetes-list-map-keys': keys = [] }: Schema, path: Path): unknown[] {
  const item = exampleValues([...path, 0])[0] ?? smallest(items, [...path, 0]);
  const many = Array.from({ length: maxItems }, (_, index) => ({ ...(item as object), ...Object.fromEntries(keys.map((key) => [key, `${key}-${index}`])) }));
  return [[], [item], many];
}

function mapsOf({ additionalProperties = {}, maxProperties = 1 }: Schema, path: Path): unknown[] {
  const value = smallest(additionalProperties, [...path, 'key']);
  return [{}, { 'example.com/key': value }, Object.fromEntries(Array.from({ length: maxProperties }, (_, index) => [`key-${index}`, value])), ...exampleValues(path)];
}

/** What an optional part must have where it is set at all. */
function smallest(schema: Schema, path: Path): unknown {
  const [example] = exampleValues(path);
  if (!schema.properties) return example ?? schema.default ?? valuesOf(schema, path)[0];
  return Object.fromEntries((schema.required ?? []).map((name) => [name, smallest(schema.properties?.[name] ?? {}, [...path, name])]));
}

function exampleValues(path: Path): unknown[] {
  return unique(examples.flatMap((spec) => at(spec, path)));
}

/** All values at a path, of every item of a list on the way. */
function at(value: unknown, path: Path): unknown[] {
  const [first, ...rest] = path;
  if (first === undefined) return value === undefined || value === null ? [] : [value];
  if (Array.isArray(value)) return value.flatMap((item) => at(item, rest));
  return typeof value === 'object' && value !== null ? at((value as Record<string, unknown>)[first], rest) : [];
}

/** @param surrounding which example gives the field its neighbours where the spec has nothing there yet */
function variant(path: Path, value: unknown, surrounding: number): Variant {
  const field = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`)).join('').slice(1);
  return { field, value, applyTo: (spec) => set(structuredClone(spec), path, value, surrounding) };
}

function set(spec: Spec, path: Path, value: unknown, surrounding: number): Spec {
  let parent = spec as unknown as Record<string | number, unknown>;
  let schema: Schema = specSchema;
  path.slice(0, -1).forEach((key, depth) => {
    schema = (typeof key === 'number' ? schema.items : schema.properties?.[key]) ?? {};
    const known = exampleValues(path.slice(0, depth + 1));
    // What may not stand beside the field gives way with its whole item.
    if (surrounding === anotherItem && typeof key === 'number') parent[key] = structuredClone(known.find((item) => at(item, path.slice(depth + 1)).length > 0) ?? parent[key]);
    parent[key] ??= schema.items ? [] : structuredClone(known[surrounding]) ?? smallest(schema, path.slice(0, depth + 1));
    parent = parent[key] as typeof parent;
  });
  parent[path.at(-1) as string] = structuredClone(value);
  return spec;
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Map(values.map((value) => [JSON.stringify(value), value])).values()];
}
