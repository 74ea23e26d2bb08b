import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ControlPlane } from '../cluster/control-plane.ts';
import { startControlPlane } from '../cluster/control-plane.ts';
import { eventually } from '../cluster/eventually.ts';
import { operatorImage } from '../cluster/image.ts';
import { stderrLog } from '../cluster/log.ts';
import { aPolicy, namespace, ownKustomization, root } from './cluster.ts';
import type { Own } from './cluster.ts';

/** The API server is built from source where it cannot be downloaded and this file runs alone. */
const buildMs = 30 * 60_000;
const withinMs = 60_000;
const sample = `${root}deploy/samples/a3s-box.yaml`;

/** Without its controllers: what a removal leaves to them, the test does. */
describe.each(['oldest', 'newest'] as const)('installed again on the API server of the %s supported Kubernetes', (kubernetes) => {
  let controlPlane: ControlPlane;

  beforeAll(async () => {
    controlPlane = await startControlPlane({ kubernetes, components: ['etcd', 'kube-apiserver'], log: stderrLog });
  }, buildMs);

  afterAll(() => controlPlane?.stop());

  const kubectl = (args: readonly string[], object?: object) => controlPlane.kubectl(args, object === undefined ? {} : { input: JSON.stringify(object) });

  async function apply(own: Own = {}): Promise<void> {
    using kustomization = ownKustomization(own);
    // The kinds of the CRDs are known a moment later.
    await eventually(() => kubectl(['apply', '-k', kustomization.dir]), withinMs);
  }

  async function removeAll(): Promise<void> {
    await kubectl(['delete', '-k', `${root}deploy`, '--ignore-not-found', '--wait=false']);
    const terminating = JSON.parse(await kubectl(['get', 'namespace', namespace, '-o', 'json'])) as object;
    await kubectl(['replace', '--raw', `/api/v1/namespaces/${namespace}/finalize`, '-f', '-'], { ...terminating, spec: { finalizers: [] } });
    await eventually(async () => expect(await kubectl(['get', 'namespace', namespace, '--ignore-not-found', '-o', 'name'])).toBe(''), withinMs);
  }

  async function makeBindingsAgain(): Promise<void> {
    await kubectl(['delete', 'validatingadmissionpolicybindings', '--all']);
    await apply();
  }

  /** `taken`, or the words of the refusal. */
  const answer = (args: readonly string[], object?: object) => kubectl(args, object).then(() => 'taken', (error: Error) => error.message);
  const policyAt = (home: string) => answer(['create', '--dry-run=server', '-f', '-'], aPolicy({ name: 'tried', home }));

  function agents(image: string, hostPath: string): Promise<string> {
    const securityContext = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } };
    const labels = { app: 'tried' };
    const spec = {
      serviceAccountName: 'cachepolicy-agent', securityContext: { seccompProfile: { type: 'RuntimeDefault' } }, containers: [{ name: 'agent', image, securityContext }],
      volumes: [{ name: 'root', hostPath: { path: hostPath } }],
    };
    const daemonSet = { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'cachepolicy-tried', namespace }, spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } } };
    return answer(['create', '--dry-run=server', `--as=system:serviceaccount:${namespace}:cachepolicy-controller`, '-f', '-'], daemonSet);
  }

  async function expectInForce({ image = operatorImage, roots = ['/var/lib/a3s-box', '/var/cache'] }: Own = {}): Promise<void> {
    const allowed = `allowed are ${roots.join(', ')}`;
    await eventually(async () => {
      expect(await policyAt('/etc/home')).toContain(allowed);
      expect(await agents(image, '/etc')).toContain(allowed);
      for (const each of roots) {
        expect(await policyAt(`${each}/home`)).toBe('taken');
        expect(await agents(image, each)).toBe('taken');
      }
      expect(await agents('other:1', roots[0] ?? '')).toContain(`names: ${image}`);
    }, withinMs);
  }

  it('takes the sample after everything was removed and applied again, and refuses what it refused before', { timeout: 300_000 }, async () => {
    for (let installation = 0; installation < 2; installation++) {
      await apply();
      await eventually(() => kubectl(['create', '-f', sample]), withinMs);
      await expectInForce();
      await kubectl(['delete', '-f', sample]);
      await removeAll();
    }
  });

  it('has roots that change after the bindings were made again in force at once', { timeout: 300_000 }, async () => {
    await apply();
    await expectInForce();
    await makeBindingsAgain();
    await expectInForce();
    const roots = ['/var/cache', '/srv/caches'];
    await apply({ roots });
    await expectInForce({ roots });
    expect(await policyAt('/var/lib/a3s-box/home')).toContain('not strictly below an allowed root');
  });

  it('has an image that changes after the bindings were made again in force at once', { timeout: 300_000 }, async () => {
    await makeBindingsAgain();
    const image = 'registry.example.com/cachepolicy-operator:2';
    await apply({ image });
    await expectInForce({ image });
    expect(await agents(operatorImage, '/var/cache')).toContain(`names: ${image}`);
    await apply();
    await expectInForce();
  });
});
