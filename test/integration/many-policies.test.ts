import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiVersion, childName } from '../../src/api/names.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, daemonSets } from '../../src/kube/resource.ts';
import { aPolicy, clientWithToken, eventually, installOperator, kubectl, namespace } from './cluster.ts';
import { api, compiledPolicy, freeLease, hurried, startController } from './controller-rig.ts';

const count = 300;

/** Sixteen directories that lie in those of the others, without a selector: each may meet each. */
function intruder(n: number): PolicyObject {
  const caches = Array.from({ length: 16 }, (_, i) => ({ name: `c${i}`, directory: { path: `/var/cache/shared/${i}/${'x/'.repeat(n % 50)}y` }, limits: { maxEntries: 1 } }));
  return { apiVersion, kind: 'CachePolicy', metadata: { name: `intruder-${n}` }, spec: { caches } } as PolicyObject;
}

describe('an account that may only create policies', () => {
  let intruders: KubeClient;

  beforeAll(async () => {
    await installOperator();
    await freeLease();
    await kubectl(['-n', namespace, 'create', 'serviceaccount', 'intruder']);
    await kubectl(['create', 'clusterrole', 'intruder', '--verb=create', '--resource=cachepolicies.cache.a3s.dev']);
    await kubectl(['create', 'clusterrolebinding', 'intruder', '--clusterrole=intruder', `--serviceaccount=${namespace}:intruder`]);
    intruders = clientWithToken((await kubectl(['create', 'token', 'intruder', '-n', namespace])).trim());
  });

  afterAll(() => kubectl(['delete', 'cachepolicies', '--all']));

  it('creates hundreds of them: the leader keeps its lease, another policy can be changed, and those that are not accepted start no agents', async () => {
    const controller = await startController({}, hurried(1));
    try {
      await kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: 'ours', limits: { maxEntries: 1 } })));
      await compiledPolicy('ours');
      const rest = Array.from({ length: count }, (_, n) => intruder(n)).values();
      const making = Promise.all(Array.from({ length: 16 }, async () => {
        for (const policy of rest) await intruders.create(cachePolicies, policy);
      }));
      for (let maxEntries = 2; maxEntries <= 6; maxEntries++) {
        await kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: 'ours', limits: { maxEntries } })));
        expect(await compiledPolicy('ours')).toMatchObject({ accepted: true, caches: [{ limits: { maxEntries } }] });
      }
      await making;
      const accepted = await eventually(async () => {
        const { items } = await api().list<PolicyObject>(cachePolicies);
        const decisions = items.map(({ metadata, status }) => ({ name: metadata.name, decision: status?.conditions?.find(({ type }) => type === 'Accepted') }));
        expect(decisions.filter(({ decision }) => decision === undefined)).toEqual([]);
        return decisions.filter(({ decision }) => decision?.status === 'True').map(({ name }) => name);
      }, 120_000);
      expect(accepted).toContain('ours');
      expect(accepted.length).toBeLessThan(count / 2);
      // One that is accepted for a moment, until another one of the same second comes, has agents, too.
      const agents = await eventually(async () => {
        const names = (await api().list<KubeObject>(daemonSets, { namespace })).items.map(({ metadata }) => metadata.name);
        expect(names).toEqual(expect.arrayContaining(accepted.map((name) => childName(name))));
        return names;
      });
      expect(agents.length).toBeLessThan(count / 2);
      await expect(Promise.race([controller.ended, Promise.resolve('leads')])).resolves.toBe('leads');
    } finally {
      await controller.stop();
    }
  }, 300_000);
});
