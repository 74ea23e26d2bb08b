import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parsePolicyDocuments } from '../../src/api/policy-documents.ts';
import { childName, compiledPolicyKey } from '../../src/api/names.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { messageOf } from '../../src/errors.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, configMaps, daemonSets } from '../../src/kube/resource.ts';
import { isConflict, KubeStatusError } from '../../src/kube/status-error.ts';
import { parseCompiled } from '../../src/policy/compiled.ts';
import { specVariants } from '../specs/variants.ts';
import type { Spec } from '../specs/variants.ts';
import { aPolicy, installOperator, namespace, root } from './cluster.ts';
import type { Controller } from './controller-rig.ts';
import { api, collectGarbage, freeLease, hurried, remove, startController } from './controller-rig.ts';

const soak = process.env['SOAK'] === '1';
const policyName = 'specs';
/** Of some tens of thousands. */
const pairs = soak ? 2_000 : 20;
/** Those of test/manifests/invalid that the API server takes and the controller does not accept. */
const unacceptable = globSync(join(root, 'test/manifests/invalid/*.yaml')).map((file) => readFileSync(file, 'utf8')).filter((text) => text.startsWith('# accepted:'))
  .flatMap((text) => parsePolicyDocuments(text).documents.map(({ value }) => (value as { spec: Spec }).spec));
const patienceMs = 30_000;
const pollMs = 20;

describe('a spec that the API server takes', () => {
  const base = aPolicy({ name: policyName, home: '/var/cache/specs', nodeSelector: { 'specs.example/node': 'none' } } as never).spec as Spec;
  const all = specVariants(base);
  /** The first of every field, with the schema's own bounds; every one with SOAK=1. */
  const variants = soak ? all : [...new Map(all.toReversed().map((each) => [each.field, each])).values()];
  let controller: Controller;
  let before: unknown;

  beforeAll(async () => {
    await installOperator();
    await freeLease();
    controller = await startController({}, hurried(250));
    expect(await put(base)).toBe(true);
    before = await settled();
  });

  afterAll(async () => {
    await controller.stop();
    await remove(cachePolicies, policyName);
    await collectGarbage(policyName);
    await freeLease();
  });

  /** @returns false where the API server refuses it */
  async function put(spec: Spec): Promise<boolean> {
    const object = { apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', metadata: { name: policyName } } as KubeObject;
    for (;;) {
      const present = await api().get<PolicyObject>(cachePolicies, { name: policyName }).catch(() => undefined);
      try {
        if (present === undefined) await api().create(cachePolicies, { ...object, spec } as KubeObject);
        else await api().replace(cachePolicies, { ...object, metadata: { ...object.metadata, resourceVersion: present.metadata.resourceVersion ?? '' }, spec } as KubeObject);
        return true;
      } catch (error) {
        if (isConflict(error)) continue;
        if (error instanceof KubeStatusError && [400, 403, 422].includes(error.status)) return false;
        throw error;
      }
    }
  }

  /** What has been made of the present generation, without what counts generations. @throws where it cannot work and Accepted does not say so */
  async function settled(): Promise<unknown> {
    for (const deadline = performance.now() + patienceMs; performance.now() < deadline; await delay(pollMs)) {
      const { metadata, status } = await api().get<PolicyObject>(cachePolicies, { name: policyName });
      const [accepted, programmed] = ['Accepted', 'Programmed'].map((type) => status?.conditions?.find((condition) => condition.type === type));
      if (accepted?.observedGeneration !== metadata.generation) continue;
      if (programmed?.reason === 'ChildrenRefused') throw new Error(programmed.message);
      const configMap = await api().get<KubeObject & { data: Record<string, string> }>(configMaps, { namespace, name: childName(policyName) });
      const daemonSet = await api().get<KubeObject & { spec: object }>(daemonSets, { namespace, name: childName(policyName) });
      const { policy, ...compiled } = parseCompiled(configMap.data[compiledPolicyKey] ?? '');
      if (policy.generation !== metadata.generation) continue;
      if (compiled.accepted !== (accepted?.status === 'True')) throw new Error(`agents are told accepted ${compiled.accepted}, the status says ${accepted?.status} ${accepted?.reason}`);
      return { compiled, labels: [configMap.metadata.labels, daemonSet.metadata.labels], daemonSet: daemonSet.spec };
    }
    throw new Error(`nothing came of it within ${patienceMs / 1000} s`);
  }

  it('is carried out at every bound of every field, or says why not in Accepted; taken back, it leaves nothing', { timeout: 3_600_000 }, async () => {
    const taken = new Set<string>();
    const failures: string[] = [];
    for (const { field, value, applyTo } of variants) {
      if (!(await put(applyTo(base)))) continue;
      taken.add(field);
      await settled().catch((error: unknown) => failures.push(`${field}: ${JSON.stringify(value)}: ${messageOf(error)}`));
      await put(base);
      expect(await settled(), field).toEqual(before);
    }
    expect(failures).toEqual([]);
    if (soak) expect(all.map(({ field }) => field).filter((field) => !taken.has(field))).toEqual([]);
    expect(taken.size).toBeGreaterThan(15);
  });

  it('is told to agents as it is told to an admin, where it cannot be carried out; taken back, it leaves nothing', async () => {
    expect(unacceptable.length).toBeGreaterThan(2);
    for (const spec of unacceptable) {
      expect(await put(spec)).toBe(true);
      expect(await settled(), JSON.stringify(spec)).toMatchObject({ compiled: { accepted: false } });
      await put(base);
      expect(await settled(), JSON.stringify(spec)).toEqual(before);
    }
  });

  it('is carried out from any bound of a field to any of another, and back', { timeout: 36_000_000 }, async () => {
    const couples = variants.flatMap((one, index) => variants.slice(index + 1).filter(({ field }) => field !== one.field).map((other) => [one, other] as const));
    const step = Math.max(1, Math.floor(couples.length / pairs));
    for (const [one, other] of couples.filter((_, index) => index % step === 0)) {
      if (!(await put(one.applyTo(base)))) continue;
      await settled();
      const first = await settled();
      if (await put(other.applyTo(one.applyTo(base)))) await settled();
      await put(one.applyTo(base));
      expect(await settled(), `${one.field}, ${other.field}`).toEqual(first);
    }
    await put(base);
    expect(await settled()).toEqual(before);
  });
});
