import { beforeAll, describe, expect, it } from 'vitest';
import { installOperator, kubectl } from './cluster.ts';

describe('the CRDs on a real API server', () => {
  beforeAll(() => installOperator());

  it.each(['cachepolicies', 'nodecaches'])('have a description on every field of %s', async (plural) => {
    const crd = JSON.parse(await kubectl(['get', 'crd', `${plural}.cache.a3s.dev`, '-o', 'json'])) as { spec: { versions: [{ schema: { openAPIV3Schema: Schema } }] } };
    expect(undescribed(crd.spec.versions[0].schema.openAPIV3Schema, '')).toEqual([]);
  });

  it('teach through kubectl explain', async () => {
    expect(await kubectl(['explain', 'cachepolicy.spec.caches.limits.maxBytes'])).toContain('a quantity such as 8Gi');
  });

  it('appear under the category caches and the short names, and never in all', async () => {
    const resources = await kubectl(['api-resources', '--api-group=cache.a3s.dev', '-o', 'wide', '--no-headers']);
    expect(resources).toMatch(/cachepolicies\s+cpol\s+.*false\s+CachePolicy/);
    expect(resources).toMatch(/nodecaches\s+nc\s+.*false\s+NodeCache/);
    expect(resources).not.toMatch(/\ball\b/);
  });
});

interface Schema {
  description?: string;
  properties?: Record<string, Schema>;
  items?: Schema;
}

function undescribed(schema: Schema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const here = `${path}.${name}`;
    // The API server writes that description itself, and allows no other.
    if (here === '.metadata') return [];
    return [...(field.description ? [] : [here]), ...undescribed(field, here), ...(field.items ? undescribed(field.items, here) : [])];
  });
}
