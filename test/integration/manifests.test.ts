import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CachePolicy } from '../../src/api/cachepolicy.gen.ts';
import { defaultAllowedRoots } from '../../src/api/names.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { admitAlone } from '../controller/admit-alone.ts';
import { installOperator, kubectl, root } from './cluster.ts';

const folder = join(root, 'test/manifests');
const filesIn = (kind: string) => readdirSync(join(folder, kind)).filter((name) => name.endsWith('.yaml')).map((name) => join(folder, kind, name));

interface Refused {
  readonly file: string;
  readonly by: 'schema' | 'admission' | 'accepted';
  readonly message: string;
}

const refused = filesIn('invalid').map((file): Refused => {
  const header = /^# (schema|admission|accepted): (.*)$/m.exec(readFileSync(file, 'utf8'));
  return { file, by: header?.[1] as Refused['by'], message: header?.[2] ?? '' };
});
const titled = <T extends { readonly file: string }>(all: readonly T[]) => all.map((each) => [each.file.split('/').at(-1)?.replace('.yaml', ''), each] as const);

describe('a real API server', () => {
  beforeAll(() => installOperator());
  afterAll(() => kubectl(['delete', 'cachepolicies', '--all']));

  it.each(titled(refused.filter(({ by }) => by !== 'accepted')))('refuses %s', async (_, { file, by, message }) => {
    const said = await kubectl(['create', '--dry-run=server', '-f', file]).then(() => 'nothing', (error: Error) => error.message);
    expect(said).toContain(message);
    expect(said.includes('ValidatingAdmissionPolicy')).toBe(by === 'admission');
  });

  it.each(titled(refused.filter(({ by }) => by === 'accepted')))('takes %s, and the controller does not accept it', async (_, { file, message }) => {
    const policy = JSON.parse(await kubectl(['create', '--dry-run=server', '-o', 'json', '-f', file])) as PolicyObject;
    const { accepted, compiled } = await admitAlone(policy, defaultAllowedRoots, Date.now());
    expect(accepted.status).toBe('False');
    expect(accepted.message).toContain(message);
    expect(compiled.accepted).toBe(false);
  });

  it.each(titled(filesIn('valid').concat(filesIn('../../deploy/samples')).map((file) => ({ file }))))('takes %s, and so does the controller', async (_, { file }) => {
    const listed = JSON.parse(await kubectl(['create', '--dry-run=server', '-o', 'json', '-f', file])) as PolicyObject | { items: PolicyObject[] };
    for (const policy of 'items' in listed ? listed.items : [listed]) {
      expect((await admitAlone(policy, defaultAllowedRoots, Date.now())).accepted).toMatchObject({ status: 'True' });
    }
  });

  it('stores what it took with every default filled in', async () => {
    const file = filesIn('valid').find((each) => each.includes('smallest')) ?? filesIn('valid')[0] ?? '';
    const policy = JSON.parse(await kubectl(['create', '--dry-run=server', '-o', 'json', '-f', file])) as CachePolicy;
    expect(policy.spec).toMatchObject({ mode: 'Enforce', rollout: { maxUnavailable: '10%' } });
    expect(policy.spec.caches[0]).toMatchObject({ protect: { minIdle: '60s' } });
  });
});
