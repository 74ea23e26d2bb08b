import { describe, expect, it } from 'vitest';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { appliedHashAnnotation, desiredChildren } from '../../src/controller/children.ts';
import { parseCompiled } from '../../src/policy/compiled.ts';
import { admitAlone } from './admit-alone.ts';
import { aCacheSpec, aDirectorySpec, aPolicy } from './builders.ts';

interface Options {
  readonly image?: string;
  readonly roots?: readonly string[];
}

async function childrenOf(policy: PolicyObject, { image = 'registry.example/cachepolicy:1', roots = ['/var/lib/a3s-box', '/var/cache', '/srv'] }: Options = {}) {
  const { compiled, rootsInUse } = await admitAlone(policy, roots, 0);
  const [configMap, daemonSet] = desiredChildren({ policy, compiled, rootsInUse, namespace: 'cachepolicy-system', image }) as any[];
  return { configMap, daemonSet, template: daemonSet.spec.template, pod: daemonSet.spec.template.spec, agent: daemonSet.spec.template.spec.containers[0] };
}

const hashOf = (object: any): string => object.metadata.annotations[appliedHashAnnotation];

describe('the children of a policy', () => {
  it('are its ConfigMap and its DaemonSet, named after it and owned by it', async () => {
    const { configMap, daemonSet } = await childrenOf(aPolicy());
    for (const child of [configMap, daemonSet]) {
      expect(child.metadata).toMatchObject({
        name: 'cachepolicy-a3s-box', namespace: 'cachepolicy-system', labels: { 'cache.a3s.dev/policy': 'a3s-box' },
        ownerReferences: [{ apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', name: 'a3s-box', uid: 'policy-uid', controller: true }],
      });
      expect(child.metadata.finalizers).toBeUndefined();
    }
    expect([configMap.kind, daemonSet.kind]).toEqual(['ConfigMap', 'DaemonSet']);
  });

  it('tell the agents the policy in a form they can read', async () => {
    const policy = aPolicy({ mode: 'DryRun' });
    const { configMap } = await childrenOf(policy);
    expect(parseCompiled(configMap.data['policy.json'])).toEqual((await admitAlone(policy, ['/var/lib/a3s-box'], 0)).compiled);
  });

  it('are the same for the same policy, and marked with what they were made from', async () => {
    const [one, two] = [await childrenOf(aPolicy()), await childrenOf(aPolicy())];
    expect(one).toEqual(two);
    expect(hashOf(one.configMap)).toMatch(/^[0-9a-f]{16}$/);
    expect(hashOf(one.configMap)).not.toBe(hashOf(one.daemonSet));
  });
});

const before = await childrenOf(aPolicy());

describe('what restarts an agent', () => {
  it.each([
    ['limits', { caches: [aCacheSpec({ limits: { maxEntries: 0, maxBytes: '8Gi', maxIdle: '7d' } })] }],
    ['protection', { caches: [aCacheSpec({ protect: { minIdle: '5s' } })] }],
    ['the mode', { mode: 'Suspended' }],
    ['a schedule', { schedule: { cron: '0 3 * * *', timeZone: 'UTC', jitter: '5m' } }],
    ['another path below the same root', { caches: [aCacheSpec({ a3sBox: { home: '/var/lib/a3s-box/other', store: 'Layers' } })] }],
    ['one more cache below the same root', { caches: [aCacheSpec(), aCacheSpec({ name: 'layers', a3sBox: { home: '/var/lib/a3s-box/home', store: 'Layers' } })] }],
  ] satisfies [string, Partial<PolicyObject['spec']>][])('is not %s: every byte of the DaemonSet stays, and the ConfigMap changes', async (_, spec) => {
    const after = await childrenOf(aPolicy(spec, { generation: 2, resourceVersion: '9' }));
    expect(JSON.stringify(after.daemonSet)).toBe(JSON.stringify(before.daemonSet));
    expect(hashOf(after.configMap)).not.toBe(hashOf(before.configMap));
  });

  it('is not that other roots are allowed', async () => {
    const after = await childrenOf(aPolicy(), { roots: ['/opt', '/var/lib/a3s-box'] });
    expect(JSON.stringify(after.daemonSet)).toBe(JSON.stringify(before.daemonSet));
  });

  it('is not how a change is rolled out, though the DaemonSet learns of it', async () => {
    const after = await childrenOf(aPolicy({ rollout: { maxUnavailable: 3 } }));
    expect(after.daemonSet.spec.updateStrategy).toEqual({ type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 3 } });
    expect(JSON.stringify(after.template)).toBe(JSON.stringify(before.template));
    expect(hashOf(after.daemonSet)).not.toBe(hashOf(before.daemonSet));
  });

  it.each([
    ['nodeSelector', { nodeSelector: { pool: 'a' } }, {}],
    ['tolerations', { tolerations: [{ operator: 'Exists' as const }] }, {}],
    ['a root that is used for the first time', { caches: [aCacheSpec(), aCacheSpec({ name: 'other', a3sBox: { home: '/srv/home', store: 'Rootfs' } })] }, {}],
    ['the first directory cache, whose agents ask who has a file open', { caches: [aCacheSpec(), aDirectorySpec({ path: '/var/lib/a3s-box/models' })] }, {}],
    ['the image', {}, { image: 'registry.example/cachepolicy:2' }],
  ] satisfies [string, Partial<PolicyObject['spec']>, Options][])('is %s', async (_, spec, options) => {
    const after = await childrenOf(aPolicy(spec), options);
    expect(JSON.stringify(after.template)).not.toBe(JSON.stringify(before.template));
    expect(hashOf(after.daemonSet)).not.toBe(hashOf(before.daemonSet));
  });
});

describe('the pod of an agent', () => {
  it('is root without privilege: two capabilities, a read-only root, the default seccomp profile', async () => {
    const { pod, agent } = await childrenOf(aPolicy());
    expect(pod.securityContext).toEqual({ runAsUser: 0, runAsGroup: 0, seccompProfile: { type: 'RuntimeDefault' } });
    expect(agent.securityContext).toEqual({
      allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'], add: ['DAC_OVERRIDE', 'FOWNER'] },
    });
  });

  it('has CAP_LEASE where a cache of the policy is a directory, and only there', async () => {
    const added = async (...caches: ReturnType<typeof aCacheSpec>[]) => (await childrenOf(aPolicy({ caches }))).agent.securityContext.capabilities;
    expect(await added(aDirectorySpec())).toEqual({ drop: ['ALL'], add: ['DAC_OVERRIDE', 'FOWNER', 'LEASE'] });
    expect(await added(aCacheSpec(), aDirectorySpec(), aDirectorySpec({ name: 'more', path: '/var/cache/more' }))).toMatchObject({ add: ['DAC_OVERRIDE', 'FOWNER', 'LEASE'] });
    expect(await added(aCacheSpec())).toMatchObject({ add: ['DAC_OVERRIDE', 'FOWNER'] });
  });

  it('mounts the root that a directory lies below', async () => {
    const { agent } = await childrenOf(aPolicy({ caches: [aDirectorySpec()] }));
    expect(agent.volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath)).toEqual(['/etc/cachepolicy', '/var/cache']);
  });

  it('shares nothing with the host but the roots', async () => {
    const { pod } = await childrenOf(aPolicy());
    for (const field of ['hostNetwork', 'hostPID', 'hostIPC', 'hostUsers', 'initContainers', 'shareProcessNamespace']) expect(pod).not.toHaveProperty(field);
    expect(pod.containers).toHaveLength(1);
    expect(pod.containers[0].ports).toEqual([{ name: 'health', containerPort: 8080 }]);
  });

  it('starts on a node under pressure, with a bound on what it takes', async () => {
    const { pod, agent } = await childrenOf(aPolicy());
    expect(pod).toMatchObject({ priorityClassName: 'system-node-critical', serviceAccountName: 'cachepolicy-agent' });
    expect(agent.resources).toEqual({ requests: { cpu: '10m', memory: '80Mi' }, limits: { cpu: '500m', memory: '160Mi' } });
  });

  it('mounts the roots in use and no other: directories that exist, as the host sees them, at the same path', async () => {
    const caches = [aCacheSpec(), aCacheSpec({ name: 'other', a3sBox: { home: '/var/cache/a3s', store: 'Rootfs' } })];
    const { pod, agent } = await childrenOf(aPolicy({ caches }));
    expect(pod.volumes).toEqual([
      { name: 'policy', configMap: { name: 'cachepolicy-a3s-box', optional: true } },
      { name: 'root-0', hostPath: { path: '/var/cache', type: 'Directory' } },
      { name: 'root-1', hostPath: { path: '/var/lib/a3s-box', type: 'Directory' } },
    ]);
    expect(agent.volumeMounts).toEqual([
      { name: 'policy', mountPath: '/etc/cachepolicy', readOnly: true },
      { name: 'root-0', mountPath: '/var/cache', mountPropagation: 'HostToContainer' },
      { name: 'root-1', mountPath: '/var/lib/a3s-box', mountPropagation: 'HostToContainer' },
    ]);
    expect(agent.args.filter((arg: string) => arg.startsWith('--allowed-root'))).toEqual(['--allowed-root=/var/cache', '--allowed-root=/var/lib/a3s-box']);
  });

  it('mounts nothing of the host for a policy whose paths are not allowed', async () => {
    const { pod, agent } = await childrenOf(aPolicy({ caches: [aCacheSpec({ a3sBox: { home: '/etc/x', store: 'Rootfs' } })] }));
    expect(pod.volumes.filter((volume: object) => 'hostPath' in volume)).toEqual([]);
    expect(agent.args.join(' ')).not.toContain('allowed-root');
  });

  it('runs where the policy says, on Linux only', async () => {
    const { pod } = await childrenOf(aPolicy({ nodeSelector: { pool: 'a' }, tolerations: [{ key: 'x', operator: 'Exists' }] }));
    expect(pod.nodeSelector).toEqual({ pool: 'a', 'kubernetes.io/os': 'linux' });
    expect(pod.tolerations).toEqual([{ key: 'x', operator: 'Exists' }]);
    expect((await childrenOf(aPolicy())).pod).toMatchObject({ nodeSelector: { 'kubernetes.io/os': 'linux' }, tolerations: [] });
  });

  it('runs nowhere rather than on nodes that the policy did not select', async () => {
    const { pod } = await childrenOf(aPolicy({ nodeSelector: { 'kubernetes.io/os': 'windows' } }));
    expect(pod.nodeSelector).toEqual({ 'kubernetes.io/os': 'windows' });
  });

  it('is selected by labels that it has, and that no other policy shares', async () => {
    const { daemonSet, template } = await childrenOf(aPolicy());
    expect(template.metadata.labels).toMatchObject(daemonSet.spec.selector.matchLabels);
    expect(daemonSet.spec.selector.matchLabels).toEqual({ 'cache.a3s.dev/policy': 'a3s-box', 'app.kubernetes.io/component': 'agent' });
  });
});
