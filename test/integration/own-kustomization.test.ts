import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { operatorImage } from '../cluster/image.ts';
import { aPolicy, eventually, installOperator, kubectl, ownKustomization, root } from './cluster.ts';

const elsewhere = 'node-caches';
const image = 'registry.example.com/cachepolicy-operator:0.1.0';

/** What a kustomization lets the controller and the agents run. */
async function imagesOf(dir: string): Promise<unknown> {
  const yaml = await kubectl(['kustomize', dir]);
  return { controller: [...yaml.matchAll(/^ {8}image: (\S+)$/gm)].map(([, name]) => name), admission: /cache[.]a3s[.]dev\/agent-image: (\S+)$/m.exec(yaml)?.[1] };
}

describe('a kustomization on top of deploy/', () => {
  it.each([
    ['a registry', image],
    ['a tag', 'cachepolicy-operator:0.2.0'],
  ])('that names nothing but %s gets admission of the same image, without deploy/render', async (_, name) => {
    using own = ownKustomization({ image: name });
    expect(await imagesOf(own.dir)).toEqual({ controller: [name], admission: name });
    expect(await imagesOf(`${root}deploy`)).toEqual({ controller: [operatorImage], admission: operatorImage });
  });

  describe('such as examples/own, with another registry, namespace and other roots', () => {
    beforeAll(async () => {
      await installOperator();
      await eventually(() => kubectl(['apply', '-k', `${root}examples/own`]));
    });

    afterAll(async () => {
      await kubectl(['delete', 'namespace', elsewhere, '--wait=false']);
      await kubectl(['apply', '-k', `${root}deploy`]);
      await installOperator();
    });

    const answer = (args: readonly string[], object: object) => kubectl(['create', '--dry-run=server', '-f', '-', ...args], JSON.stringify(object)).then(() => 'taken', (error: Error) => error.message);

    function agents({ path = '/mnt/models', of = image } = {}): Promise<string> {
      const labels = { app: 'tried' };
      const securityContext = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } };
      const spec = {
        serviceAccountName: 'cachepolicy-agent', securityContext: { seccompProfile: { type: 'RuntimeDefault' } }, containers: [{ name: 'agent', image: of, securityContext }],
        volumes: [{ name: 'root', hostPath: { path } }],
      };
      const daemonSet = { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'tried', namespace: elsewhere }, spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } } };
      return answer([`--as=system:serviceaccount:${elsewhere}:cachepolicy-controller`], daemonSet);
    }

    it('binds the accounts of that namespace to those roots and that image', async () => {
      await eventually(async () => {
        expect(await agents()).toBe('taken');
        expect(await agents({ path: '/var/cache' })).toContain('allowed are /var/lib/a3s-box, /mnt/models');
        expect(await agents({ of: operatorImage })).toContain(`names: ${image}`);
        expect(await answer([], aPolicy({ name: 'tried', home: '/mnt/models/home' }))).toBe('taken');
        expect(await answer([], aPolicy({ name: 'tried', home: '/var/cache/home' }))).toContain('allowed are /var/lib/a3s-box, /mnt/models');
      }, 60_000);
    });

    it('gives them the rights that they have in cachepolicy-system, and Events in the namespace default', async () => {
      const can = (account: string, ...what: readonly string[]) => kubectl(['auth', 'can-i', ...what, `--as=system:serviceaccount:${elsewhere}:${account}`]).then((said) => said.trim(), (error: Error & { stdout?: string }) => error.stdout?.trim());
      expect(await can('cachepolicy-controller', 'create', 'daemonsets', '-n', elsewhere)).toBe('yes');
      expect(await can('cachepolicy-controller', 'watch', 'cachepolicies.cache.a3s.dev')).toBe('yes');
      expect(await can('cachepolicy-controller', 'create', 'events', '-n', 'default')).toBe('yes');
      expect(await can('cachepolicy-agent', 'patch', 'nodecaches.cache.a3s.dev')).toBe('yes');
      expect(await can('cachepolicy-controller', 'create', 'daemonsets', '-n', 'default')).toBe('no');
    });

    it('leaves no name of cachepolicy-system behind', async () => {
      expect(await kubectl(['kustomize', `${root}examples/own`])).not.toContain('cachepolicy-system');
    });
  });
});
