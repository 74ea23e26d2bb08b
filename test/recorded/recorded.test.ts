/**
 * What earlier versions wrote, one folder each: compiled policies, which the agents of a later one read when the controller is upgraded after
 * them, and NodeCaches, which its controller reads. `RECORD=1` writes the folder of the present version anew; the others are never touched.
 */
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { NodeCacheSink } from '../../src/agent/in-cluster/node-cache-sink.ts';
import type { CrdSchema } from '../../src/api/crd-schema.ts';
import { checkSchema } from '../../src/api/crd-schema.ts';
import type { NodeCache } from '../../src/api/nodecache.gen.ts';
import { parsePolicyDocuments } from '../../src/api/policy-documents.ts';
import { validatePolicy } from '../../src/api/validate.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { parseCompiled } from '../../src/policy/compiled.ts';
import type { CompiledPolicy } from '../../src/policy/compiled.ts';
import type { CacheState } from '../../src/policy/node-report.ts';
import { nodeFigures } from '../../src/policy/node-figures.ts';
import { version } from '../../src/version.ts';
import { admitAlone } from '../controller/admit-alone.ts';
import { recordedLog, startServer } from '../kube/rig.ts';
import { aLook } from '../policy/builders.ts';

const here = import.meta.dirname;
const crd = parse(readFileSync(join(here, '../../crds/nodecaches.yaml'), 'utf8'), { merge: true }) as { spec: { versions: { schema: { openAPIV3Schema: CrdSchema } }[] } };
const nodeCacheSchema = crd.spec.versions[0]?.schema.openAPIV3Schema as CrdSchema;
const versions = readdirSync(here, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name);
const read = (path: string) => JSON.parse(readFileSync(join(here, path), 'utf8')) as unknown;

it.runIf(process.env['RECORD'] === '1')(`records what ${version} writes`, async () => {
  const dir = join(here, version);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(join(dir, 'compiled'), { recursive: true });
  mkdirSync(join(dir, 'nodecaches'));
  const write = (name: string, value: unknown) => writeFileSync(join(dir, name), `${JSON.stringify(value, undefined, 1)}\n`);
  const compiled = await compiledPolicies();
  for (const [name, policy] of compiled) write(`compiled/${name}.json`, policy);
  for (const [name, object] of await reports(compiled.get('every-field') as CompiledPolicy)) write(`nodecaches/${name}.json`, object);
});

describe.each(versions)('what %s wrote', (recorded) => {
  const files = (kind: string) => globSync(`${recorded}/${kind}/*.json`, { cwd: here }).toSorted();

  it('is there', () => {
    expect(files('compiled').length).toBeGreaterThan(5);
    expect(files('nodecaches').length).toBeGreaterThan(3);
  });

  it.each(files('compiled'))('is a policy that this version reads, as it was meant: %s', (file) => {
    const text = readFileSync(join(here, file), 'utf8');
    expect(parseCompiled(text)).toMatchObject(JSON.parse(text) as object);
  });

  it.each(files('nodecaches'))('is a report that this version counts: %s', (file) => {
    const { spec, status = {} } = read(file) as NodeCache;
    const figures = nodeFigures(spec.nodeName, status, (text) => text);
    expect(figures).toMatchObject({ policyUID: status.policyUID, podUID: status.podUID, evictedEntries: status.evictedEntries, evictedBytes: status.evictedBytes });
    expect(figures.caches.length).toBe(status.caches?.length);
    expect(checkSchema(nodeCacheSchema, read(file)).map(({ path, message }) => `${path.join('.')}: ${message}`)).toEqual([]);
  });
});

it('the present version is among them', () => expect(existsSync(join(here, version))).toBe(true));

/** Of every valid manifest, and one that was not accepted. */
async function compiledPolicies(): Promise<Map<string, CompiledPolicy>> {
  const compiled = new Map<string, CompiledPolicy>();
  for (const file of globSync(join(here, '../manifests/valid/*.yaml')).toSorted()) {
    const { policy } = validatePolicy(parsePolicyDocuments(readFileSync(file, 'utf8')).documents[0]?.value);
    const object = { ...policy, metadata: { ...policy?.metadata, uid: '5f1c7c5e-0000-4000-8000-000000000001', generation: 3 } } as PolicyObject;
    compiled.set(basename(file, '.yaml'), (await admitAlone(object, ['/var/lib/a3s-box', '/var/cache'], Date.UTC(2026, 10, 23))).compiled);
    if (basename(file) === 'smallest.yaml') compiled.set('not-accepted', (await admitAlone(object, [], Date.UTC(2026, 10, 23))).compiled);
  }
  return compiled;
}

/** As an agent publishes them. */
async function reports(policy: CompiledPolicy): Promise<Map<string, unknown>> {
  const refusal = { reason: 'PolicyFormat' as const, message: 'the compiled policy has format 9; this agent reads 1', subject: policy.policy };
  const told: [name: string, tell: (sink: NodeCacheSink) => void][] = [
    ['within-limits', (sink) => sink.report(policy, states(policy))],
    ['failing', (sink) => sink.report(policy, states(policy, { look: undefined, problem: { reason: 'RootMissing', message: '/var/x does not exist' } }))],
    ['never-looked', (sink) => sink.report(policy, states(policy, { look: undefined, lastRun: undefined }))],
    ['behind', (sink) => (sink.report(policy, states(policy)), sink.refuse(refusal))],
    ['refused', (sink) => sink.refuse(refusal)],
  ];
  const objects = new Map<string, unknown>();
  for (const [name, tell] of told) {
    await using rig = await startServer();
    const identity = { nodeName: 'node-1', nodeUID: '5f1c7c5e-0000-4000-8000-000000000002', podName: 'pod', podUID: '5f1c7c5e-0000-4000-8000-000000000003', namespace: 'cachepolicy-system' };
    const sink = new NodeCacheSink({ client: rig.client, identity, agentVersion: version, log: recordedLog().log, clock: rig.clock });
    const ending = new AbortController();
    const running = sink.run(ending.signal);
    tell(sink);
    await rig.clock.passUntil(() => sink.hasReported);
    ending.abort();
    await running;
    const { metadata: { resourceVersion: _, uid: __, ...metadata }, ...object } = rig.server.get(`/apis/cache.a3s.dev/v1alpha1/nodecaches/${policy.policy.name}.node-1`) as KubeObject;
    objects.set(name, { ...object, metadata });
  }
  return objects;
}

function states(policy: CompiledPolicy, but: Partial<CacheState> = {}): readonly CacheState[] {
  const lastEvictionAtMs = Date.UTC(2026, 10, 22, 3, 30);
  return policy.caches.map(({ name, limits }) => ({
    name, limits, problem: undefined,
    lastRun: { finishedAtMs: lastEvictionAtMs, trigger: 'Change', evictedEntries: 3, evictedBytes: 3_072, errors: 0 },
    totals: { evictedEntries: 12, evictedBytes: 12_288, revived: 1, raced: 2, lastEvictionAtMs },
    look: aLook(),
    ...but,
  }));
}
