import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentFieldManager, apiVersion, nodeCacheName, policyLabel } from '../../src/api/names.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, configMaps, daemonSets, nodeCaches, pods } from '../../src/kube/resource.ts';
import { KubeStatusError } from '../../src/kube/status-error.ts';
import type { Transport } from '../../src/kube/transport.ts';
import { hostilePaths, oddPaths } from '../fixtures/hostile-paths.ts';
import { admin, aPolicy, clientWithToken, eventually, installOperator, kubectl, namespace, ownKustomization, tokenOfAgent, transportWithToken } from './cluster.ts';

const manager = { fieldManager: agentFieldManager };

function aNodeCache(policyName: string, nodeName: string, change: { name?: string; label?: string; labels?: object; annotations?: object; finalizers?: string[]; owner?: object; status?: object } = {}): KubeObject {
  const { name = nodeCacheName(policyName, nodeName), label = policyName, labels, annotations, finalizers, owner, status } = change;
  const ownerReferences = [{ apiVersion, kind: 'CachePolicy', name: policyName, uid: 'uid-of-the-policy', ...owner }];
  return {
    apiVersion, kind: 'NodeCache', metadata: { name, labels: { [policyLabel]: label, ...labels }, ...(annotations && { annotations }), ...(finalizers && { finalizers }), ...(owner && { ownerReferences }) },
    spec: { policyName, nodeName }, ...(status && { status }),
  } as KubeObject;
}

/** 'ok', or the HTTP status of the refusal and the words that matter. */
async function outcome(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'ok';
  } catch (error) {
    if (error instanceof KubeStatusError) return `${error.status} ${error.message}`;
    throw error;
  }
}

describe('admission, with the tokens of real pods', () => {
  let agent: KubeClient;
  let transport: Transport;
  let unbound: KubeClient;

  beforeAll(async () => {
    await installOperator();
    transport = transportWithToken(await tokenOfAgent('cachepolicy-mine-abcde', 'node-a'));
    agent = new KubeClient(transport);
    await clientWithToken(await tokenOfAgent('cachepolicy-mine-bcdef', 'node-b')).apply(nodeCaches, aNodeCache('mine', 'node-b'), manager);
    unbound = clientWithToken((await kubectl(['create', 'token', 'cachepolicy-agent', '-n', namespace])).trim());
  });

  afterAll(() => kubectl(['delete', 'nodecaches', '--all']));

  it('lets an agent make the report of its own node, and write its status', async () => {
    expect(await outcome(agent.apply(nodeCaches, aNodeCache('mine', 'node-a'), manager))).toBe('ok');
    expect(await outcome(agent.applyStatus(nodeCaches, aNodeCache('mine', 'node-a', { status: { entries: '3' } }), manager))).toBe('ok');
  });

  it.each([
    ["another node's report", aNodeCache('mine', 'node-b'), 'its own node'],
    ["a squat on another node's name", aNodeCache('mine', 'node-a', { name: 'mine.node-c' }), 'named <policy>.<node>'],
    ["another policy's report", aNodeCache('other', 'node-a'), 'its own policy'],
    ['a report without its label', aNodeCache('mine', 'node-a', { label: 'other' }), 'names its policy'],
    ['an annotation', aNodeCache('mine', 'node-a', { annotations: { junk: 'x'.repeat(240_000) } }), 'no annotations'],
    ['another label', aNodeCache('mine', 'node-a', { labels: { more: 'junk' } }), 'no label but'],
    ['an owner with a long uid', aNodeCache('mine', 'node-a', { owner: { uid: 'x'.repeat(240_000) } }), 'no other owner'],
    ['an owner of a made-up version', aNodeCache('mine', 'node-a', { owner: { apiVersion: `${apiVersion}${'x'.repeat(200_000)}` } }), 'no other owner'],
    ['a finalizer', aNodeCache('mine', 'node-a', { finalizers: ['example.com/stay'] }), 'finalizers'],
    ['another policy as the owner', aNodeCache('mine', 'node-a', { owner: { name: 'other' } }), 'no other owner'],
    ['an owner of another kind', aNodeCache('mine', 'node-a', { owner: { kind: 'NodeCache' } }), 'no other owner'],
    ['to stand in the way of a removal', aNodeCache('mine', 'node-a', { owner: { blockOwnerDeletion: true } }), 'no other owner'],
  ])('refuses an agent %s', async (_, object, words) => {
    const result = await outcome(agent.apply(nodeCaches, object, manager));
    expect(result).toMatch(/^403 /);
    expect(result).toContain(words);
  });

  it('lets an agent report on where somebody else put an annotation, a label and a finalizer, and take none of them away', async () => {
    const theirs = { annotations: { 'example.com/note': 'mine' }, labels: { team: 'storage' }, finalizers: ['example.com/stay'] };
    const merge = (metadata: object) => ({ type: 'merge', body: { metadata } }) as const;
    await agent.apply(nodeCaches, aNodeCache('mine', 'node-a'), manager);
    await admin().patch(nodeCaches, { name: 'mine.node-a' }, merge(theirs));
    expect(await outcome(agent.apply(nodeCaches, aNodeCache('mine', 'node-a'), manager))).toBe('ok');
    expect(await outcome(agent.applyStatus(nodeCaches, aNodeCache('mine', 'node-a', { status: { entries: '4' } }), manager))).toBe('ok');
    expect(await outcome(agent.patch(nodeCaches, { name: 'mine.node-a' }, merge({ annotations: { 'example.com/note': 'x'.repeat(240_000) } })))).toMatch(/^403 .*no annotations/);
    expect(await outcome(agent.patch(nodeCaches, { name: 'mine.node-a' }, merge({ labels: { team: 'other' } })))).toMatch(/^403 .*no label but/);
    expect(await outcome(agent.patch(nodeCaches, { name: 'mine.node-a' }, merge({ finalizers: null })))).toMatch(/^403 .*no finalizers/);
    await admin().patch(nodeCaches, { name: 'mine.node-a' }, merge({ annotations: null, labels: { team: null }, finalizers: null }));
  });

  it('refuses an agent a report that is larger than one of sixteen caches', async () => {
    const junk = 'x'.repeat(240_000);
    const cache = { name: 'rootfs' };
    const statuses = [
      { entries: junk }, { reportTime: `2026-01-01T00:00:00.${'0'.repeat(240_000)}Z` }, { agentVersion: junk }, { caches: [{ name: junk }] }, { caches: [{ name: 'one\ntwo' }] },
      { caches: [{ ...cache, problem: { reason: 'DiskIo', message: junk } }] }, { caches: [{ ...cache, holdSources: [junk] }] },
      { caches: [{ ...cache, lastRun: { time: `2026-01-01T00:00:00.${'0'.repeat(240_000)}Z` } }] },
      { caches: Array.from({ length: 17 }, (_, index) => ({ name: `cache-${index}` })) },
      { conditions: [{ type: 'Ready', status: 'True', reason: 'Ready', message: junk, lastTransitionTime: '2026-01-01T00:00:00Z' }] },
    ];
    const results = await Promise.all(statuses.map((status) => outcome(agent.applyStatus(nodeCaches, aNodeCache('mine', 'node-a', { status }), manager))));
    expect(results.map((result) => result.slice(0, 3))).toEqual(statuses.map(() => '422'));
  });

  it('refuses an agent what only fills the record of who wrote what', async () => {
    await agent.apply(nodeCaches, aNodeCache('mine', 'node-a'), manager);
    const managed = (count: number, fieldsV1: object) => ({ metadata: { managedFields: Array.from({ length: count }, (_, index) => ({
      manager: `manager-${index}`, operation: 'Apply', apiVersion, time: '2026-01-01T00:00:00Z', fieldsType: 'FieldsV1', fieldsV1,
    })) } });
    for (const body of [managed(1_000, { 'f:spec': { 'f:nodeName': {} } }), managed(1, { [`f:${'x'.repeat(240_000)}`]: {} }), managed(1, { 'f:status': { [`f:${'x'.repeat(240_000)}`]: {} } })]) {
      expect(await outcome(agent.patch(nodeCaches, { name: 'mine.node-a' }, { type: 'merge', body }))).toMatch(/^403 .*managedFields/);
      const path = `/apis/${apiVersion}/nodecaches/mine.node-a?fieldManager=${agentFieldManager}`;
      expect(await outcome(transport.request({ method: 'PATCH', path, contentType: 'application/merge-patch+json', body, repeatable: false }))).toMatch(/^403 .*managedFields/);
    }
    for (let index = 0; index < 3; index++) {
      expect(await outcome(agent.apply(nodeCaches, aNodeCache('mine', 'node-a'), { fieldManager: `manager-${index}` }))).toMatch(/^403 .*managedFields/);
    }
  });

  it("refuses an agent another node's status", async () => {
    const result = await outcome(agent.applyStatus(nodeCaches, aNodeCache('mine', 'node-b', { status: { entries: '0' } }), manager));
    expect(result).toMatch(/^403 .*its own node/);
  });

  it('refuses a token of the account that is bound to no pod', async () => {
    expect(await outcome(unbound.apply(nodeCaches, aNodeCache('mine', 'node-a'), manager))).toMatch(/^403 .*its own node/);
  });

  it('lets an agent read and delete nothing but ConfigMaps of its namespace', async () => {
    const results = await Promise.all([
      outcome(agent.delete(nodeCaches, { name: 'mine.node-a' })),
      outcome(agent.deleteCollection(nodeCaches, {})),
      outcome(agent.list(nodeCaches)),
      outcome(agent.list(cachePolicies)),
      outcome(agent.list(pods, { namespace })),
      outcome(agent.list({ apiVersion: 'v1', kind: 'Secret', plural: 'secrets', namespaced: true }, { namespace })),
      outcome(agent.list(configMaps, { namespace: 'kube-system' })),
    ]);
    expect(results.map((result) => result.slice(0, 3))).toEqual(Array(7).fill('403'));
    expect(await outcome(agent.list(configMaps, { namespace }))).toBe('ok');
  });

  it('takes a policy below an allowed root', async () => {
    expect(await outcome(admin().apply(cachePolicies, aPolicy({ name: 'within', home: '/var/cache/home' }), { fieldManager: 'test' }))).toBe('ok');
    await admin().delete(cachePolicies, { name: 'within' });
  });

  it.each(['/etc/a3s', '/var/cache', '/var/cache-x/home', '/var/lib/a3s-boxes/home'])('refuses whoever asks a policy at %s', async (home) => {
    expect(await outcome(admin().apply(cachePolicies, aPolicy({ name: 'beyond', home }), { fieldManager: 'test' }))).toContain('not strictly below an allowed root');
  });

  // Where the schema does not refuse it, admission does.
  it.each([...hostilePaths('/var/cache'), ...oddPaths('/var/cache')])('refuses whoever asks %s', async (_, home) => {
    expect(await outcome(admin().apply(cachePolicies, aPolicy({ name: 'beyond', home }), { fieldManager: 'test' }))).toMatch(/^4(22|00|03) /);
  });

  it.each([...hostilePaths('/var/cache'), ...oddPaths('/var/cache')])('refuses whoever asks for a cache apart from its home at %s', async (_, cacheDir) => {
    const caches = [{ name: 'rootfs', a3sBox: { home: '/var/cache/home', cacheDir, store: 'Rootfs' }, limits: { maxEntries: 1 } }];
    expect(await outcome(admin().apply(cachePolicies, aPolicy({ name: 'beyond', ...({ caches } as object) }), { fieldManager: 'test' }))).toMatch(/^4(22|00|03) /);
  });

  it('lets a cache lie apart from its home', async () => {
    const caches = [{ name: 'rootfs', a3sBox: { home: '/var/cache/home', cacheDir: '/var/cache/apart', store: 'Rootfs' }, limits: { maxEntries: 1 } }];
    expect(await outcome(admin().apply(cachePolicies, aPolicy({ name: 'apart', ...({ caches } as object) }), { fieldManager: 'test' }))).toBe('ok');
    await admin().delete(cachePolicies, { name: 'apart' });
  });

  describe("for the controller's account", () => {
    let controller: KubeClient;
    const image = 'cachepolicy-operator:0.1.0';

    beforeAll(async () => {
      controller = clientWithToken(await tokenOfAgent('controller-for-test', 'node-a', 'cachepolicy-controller'));
    });

    const confined = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'], add: ['DAC_OVERRIDE', 'FOWNER'] } };

    function aDaemonSet(change: { pod?: object; container?: object; hostPath?: string; annotations?: Record<string, string> } = {}): KubeObject {
      const labels = { app: 'test' };
      const container = {
        name: 'agent', image, securityContext: confined, ...change.container,
      };
      const volumes = [{ name: 'root', hostPath: { path: change.hostPath ?? '/var/cache', type: 'Directory' } }, { name: 'policy', configMap: { name: 'cachepolicy-test' } }];
      const spec = { serviceAccountName: 'cachepolicy-agent', containers: [container], securityContext: { seccompProfile: { type: 'RuntimeDefault' } }, volumes, nodeSelector: { no: 'node' }, ...change.pod };
      return {
        apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'cachepolicy-test', namespace },
        spec: { selector: { matchLabels: labels }, template: { metadata: { labels, annotations: change.annotations ?? {} }, spec } },
      } as KubeObject;
    }

    it('takes a DaemonSet of agents', async () => {
      expect(await outcome(controller.apply(daemonSets, aDaemonSet(), { fieldManager: 'test' }))).toBe('ok');
      await admin().delete(daemonSets, { namespace, name: 'cachepolicy-test' });
    });

    it('takes one of agents that may ask who has a file open', async () => {
      const container = { securityContext: { ...confined, capabilities: { drop: ['ALL'], add: ['DAC_OVERRIDE', 'FOWNER', 'LEASE'] } } };
      expect(await outcome(controller.apply(daemonSets, aDaemonSet({ container }), { fieldManager: 'test' }))).toBe('ok');
      await admin().delete(daemonSets, { namespace, name: 'cachepolicy-test' });
    });

    it('takes the ConfigMap of a policy and refuses every other, the allowed roots above all', async () => {
      const aConfigMap = (name: string, policy: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace, labels: { [policyLabel]: policy } }, data: { roots: '/' } });
      const write = (name: string, policy: string) => outcome(controller.apply(configMaps, aConfigMap(name, policy) as KubeObject, { fieldManager: 'test' }));
      expect(await write('cachepolicy-mine', 'mine')).toBe('ok');
      for (const [name, policy] of [['cachepolicy-allowed-roots', 'allowed-roots'], ['cachepolicy-allowed-roots', 'mine'], ['other', 'mine']] as const) {
        expect(await write(name, policy), name).toMatch(/^403 .*never the allowed roots/);
      }
      await admin().delete(configMaps, { namespace, name: 'cachepolicy-mine' });
    });

    it('holds nothing for an allowed root that is no plain path', async () => {
      const at = (hostPath: string) => outcome(controller.apply(daemonSets, aDaemonSet({ hostPath }), { fieldManager: 'test' }));
      using own = ownKustomization({ roots: ['/srv', '/', 'etc', '/var/../etc', '/./etc', '/with blank', ''] });
      await kubectl(['apply', '-k', own.dir]);
      try {
        await eventually(async () => expect(await at('/srv')).toBe('ok'));
        for (const path of ['/', '/etc', '/var/../etc', '/./etc', '/with blank']) expect(await at(path), path).toMatch(/^(403 .*only allowed roots|422 )/);
      } finally {
        await installOperator();
        await admin().delete(daemonSets, { namespace, name: 'cachepolicy-test' });
      }
      await eventually(async () => expect(await at('/srv')).toMatch(/^403 /));
    }, 180_000);

    it.each([
      ['a path beyond the allowed roots', { hostPath: '/etc' }],
      ['a path below an allowed root, which is none itself', { hostPath: '/var/cache/deep' }],
      ['another image', { container: { image: 'evil:1' } }],
      ['privilege', { container: { securityContext: { ...confined, allowPrivilegeEscalation: undefined, privileged: true } } }],
      ['privilege escalation', { container: { securityContext: { ...confined, allowPrivilegeEscalation: true } } }],
      ['another capability', { container: { securityContext: { ...confined, capabilities: { drop: ['ALL'], add: ['SYS_ADMIN'] } } } }],
      ['a root filesystem that can be written', { container: { securityContext: { ...confined, readOnlyRootFilesystem: false } } }],
      ['another seccomp profile', { container: { securityContext: { ...confined, seccompProfile: { type: 'Unconfined' } } } }],
      ['no seccomp profile', { pod: { securityContext: {} } }],
      ['the network of the host', { pod: { hostNetwork: true } }],
      ['the processes of the host', { pod: { hostPID: true } }],
      ['the memory that processes of the host share', { pod: { hostIPC: true } }],
      ['another SELinux type', { container: { securityContext: { ...confined, seLinuxOptions: { type: 'spc_t' } } } }],
      ['another SELinux type for the pod', { pod: { securityContext: { seccompProfile: { type: 'RuntimeDefault' }, seLinuxOptions: { type: 'spc_t' } } } }],
      ['no AppArmor', { container: { securityContext: { ...confined, appArmorProfile: { type: 'Unconfined' } } } }],
      ['no AppArmor for the pod', { pod: { securityContext: { seccompProfile: { type: 'RuntimeDefault' }, appArmorProfile: { type: 'Unconfined' } } } }],
      ['no AppArmor, as it was said formerly', { annotations: { 'container.apparmor.security.beta.kubernetes.io/agent': 'unconfined' } }],
      ['a sysctl', { pod: { securityContext: { seccompProfile: { type: 'RuntimeDefault' }, sysctls: [{ name: 'kernel.shm_rmid_forced', value: '1' }] } } }],
      ['an unmasked /proc', { container: { securityContext: { ...confined, procMount: 'Unmasked' } }, pod: { hostUsers: false } }],
      ['a port of the host', { container: { ports: [{ containerPort: 8080, hostPort: 8080 }] } }],
      ['a Secret in its environment', { container: { env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'x', key: 'y' } } }] } }],
      ['whatever a Secret holds in its environment', { container: { envFrom: [{ secretRef: { name: 'x' } }] } }],
      ['another account', { pod: { serviceAccountName: 'cachepolicy-controller' } }],
      ['an init container', { pod: { initContainers: [{ name: 'first', image }] } }],
      ['a volume of another kind', { pod: { volumes: [{ name: 'root', secret: { secretName: 'x' } }] } }],
    ])('refuses %s', async (_, change) => {
      expect(await outcome(controller.apply(daemonSets, aDaemonSet(change), { fieldManager: 'test' }))).toMatch(/^403 /);
    });
  });
});
