/** Writes src/api/*.gen.ts from crds/*.yaml: the types of the objects as the API server serves them, and the schema that the CLI validates with. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compile } from 'json-schema-to-typescript';
import type { JSONSchema } from 'json-schema-to-typescript';
import { parse } from 'yaml';

interface CustomResourceDefinition {
  spec: { names: { kind: string }; versions: { schema: { openAPIV3Schema: JSONSchema } }[] };
}

const here = import.meta.dirname;

for (const [crdFile, base] of [['cachepolicies.yaml', 'cachepolicy'], ['nodecaches.yaml', 'nodecache']] as const) {
  const crd = parse(readFileSync(join(here, 'crds', crdFile), 'utf8')) as CustomResourceDefinition;
  const schema = crd.spec.versions[0]?.schema.openAPIV3Schema;
  if (schema === undefined) throw new Error(`crds/${crdFile} has no schema`);
  const banner = `// Generated from crds/${crdFile} by generate.ts (make generate). Do not edit.`;
  const types = await compile(withMetadata(served(structuredClone(schema))), crd.spec.names.kind, {
    bannerComment: `${banner}\n// As the API server serves it: a field with a default is always there.`,
    ignoreMinAndMaxItems: true,
    style: { singleQuote: true, printWidth: 140 },
  });
  writeFileSync(join(here, 'src/api', `${base}.gen.ts`), types);
  if (base === 'cachepolicy') {
    const constant = `${banner}\n\nexport const cachePolicySchema: unknown = ${JSON.stringify(schema, null, 2)};\n`;
    writeFileSync(join(here, 'src/api', `${base}-schema.gen.ts`), constant);
  }
}

/** Kubernetes' dialect in words that json-schema-to-typescript knows. */
function served(schema: JSONSchema): JSONSchema {
  if (schema['x-kubernetes-int-or-string'] === true) schema.type = ['integer', 'string'];
  if (schema.properties !== undefined) {
    schema.additionalProperties = false;
    const defaulted = Object.entries(schema.properties).flatMap(([name, property]) => (property.default === undefined ? [] : [name]));
    schema.required = [...new Set([...(Array.isArray(schema.required) ? schema.required : []), ...defaulted])];
    for (const property of Object.values(schema.properties)) served(property);
  }
  if (schema.items !== undefined) served(schema.items as JSONSchema);
  return schema;
}

/** What every object has; the CRD itself need not say so. */
function withMetadata(schema: JSONSchema): JSONSchema {
  const metadata = { tsType: '{ name: string; uid?: string; generation?: number; creationTimestamp?: string }', description: 'Standard object metadata.' };
  schema.properties = { ...schema.properties, metadata };
  schema.required = [...(Array.isArray(schema.required) ? schema.required : []), 'apiVersion', 'kind', 'metadata'];
  return schema;
}
