import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { KubeStatusError } from '../../src/kube/status-error.ts';
import { cachePolicies } from '../../src/kube/resource.ts';
import { aPolicy, clientWithToken, eventually, installOperator, kubectl, namespace } from './cluster.ts';
import type { Controller } from './controller-rig.ts';
import { api, collectGarbage, controllerToken, freeLease, hurried, remove, startController } from './controller-rig.ts';

const policyName = 'admission-check';
/** Ten minutes between two checks are six seconds, and the minute that confirms a difference is little more than half of one. */
const hurry = 100;
const withinMs = 60_000;

describe('a controller whose admission policies differ from what it goes by', () => {
  let controller: Controller;

  beforeAll(async () => {
    await installOperator();
    await freeLease();
    controller = await startController({}, hurried(hurry));
    await kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: policyName, home: '/var/cache/admission-check', nodeSelector: { no: 'node' } } as never)));
    await eventually(async () => expect((await status())?.conditions?.length).toBeGreaterThan(2), withinMs);
  });

  afterEach(async () => {
    await installOperator();
    await eventually(async () => expect(await degraded()).toBeUndefined(), withinMs);
  });

  afterAll(async () => {
    await controller.stop();
    await remove(cachePolicies, policyName);
    await collectGarbage(policyName);
    await freeLease();
  });

  const status = async () => (await api().get<PolicyObject>(cachePolicies, { name: policyName })).status;
  const degraded = async () => (await status())?.conditions?.find(({ type }) => type === 'Degraded');
  const patch = (kind: string, name: string, body: object, type = 'merge') => kubectl(['patch', kind, name, '--type', type, '-p', JSON.stringify(body)]);
  /** The literal is the first variable of the policy. */
  const literal = (policy: string) => patch('validatingadmissionpolicy', policy, [{ op: 'replace', path: '/spec/variables/0/expression', value: "r'''/srv'''" }] as object, 'json');
  const without = (policy: string) => kubectl(['delete', 'validatingadmissionpolicybinding', policy]);

  it('says nothing where they agree', async () => {
    expect(await degraded()).toBeUndefined();
  });

  it.each([
    ['the roots of CachePolicies were edited in the cluster', () => literal('cachepolicy-allowed-roots'), 'allowed are /srv" where the controller goes by "allowed are /var/lib/a3s-box, /var/cache"'],
    ['the roots of agents were edited in the cluster', () => literal('cachepolicy-agent-paths'), 'allowed are /srv" where the controller goes by "allowed are /var/lib/a3s-box, /var/cache"'],
    ['the ConfigMap alone was edited', () => kubectl(['patch', 'configmap', 'cachepolicy-allowed-roots', '-n', namespace, '--type=merge', '-p', '{"data":{"roots":"/var/cache"}}']), 'where the controller goes by "allowed are /var/cache"'],
    ['the namespace names another image', () => kubectl(['annotate', '--overwrite', 'namespace', namespace, 'cache.a3s.dev/agent-image=other:1']), 'names: other:1" where'],
    ['the binding of allowed roots is gone', () => without('cachepolicy-allowed-roots'), 'admission takes a CachePolicy beyond the allowed roots'],
    ['the binding of paths is gone', () => without('cachepolicy-agent-paths'), 'admission takes agents that mount the whole node'],
    ['the binding of images is gone', () => without('cachepolicy-agent-image'), 'admission takes agents of another image'],
    ['the binding of confinement is gone', () => without('cachepolicy-agent-confined'), 'admission takes privileged agents'],
    ['the binding of ConfigMaps is gone', () => without('cachepolicy-own-config'), 'admission takes a ConfigMap of no policy'],
  ])('says so, and what to do, where %s', async (_, change, words) => {
    await change();
    await eventually(async () => {
      const condition = await degraded();
      expect(condition).toMatchObject({ status: 'True', reason: 'AdmissionDiffers' });
      expect(condition?.message).toContain(words);
      expect(condition?.message).toMatch(/; apply the operator again with its kustomization/);
    }, withinMs);
  });

  it('cannot create a CachePolicy with the right that it asks by', async () => {
    const client = clientWithToken(await controllerToken());
    const policy = aPolicy({ name: 'made-by-the-controller', home: '/var/cache/home' });
    await client.create(cachePolicies, policy, { dryRun: true });
    const refusal = await client.create(cachePolicies, policy).then(() => undefined, (error: unknown) => error);
    expect(refusal).toBeInstanceOf(KubeStatusError);
    expect((refusal as KubeStatusError).message).toContain('only in a dry run');
  });
});
