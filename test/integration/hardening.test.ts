import { beforeAll, describe, expect, it } from 'vitest';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { desiredChildren } from '../../src/controller/children.ts';
import { leaseName, nameLabel, operatorName } from '../../src/api/names.ts';
import { validatePolicy } from '../../src/api/validate.ts';
import { admitAlone } from '../controller/admit-alone.ts';
import { aPolicy, controlPlane, installOperator, kubectl, namespace, root } from './cluster.ts';

interface Rendered {
  kind: string;
  metadata: { name: string; namespace?: string };
  rules?: { apiGroups: string[]; resources: string[]; resourceNames?: string[]; verbs: string[] }[];
  spec?: { template: { spec: object; metadata: { labels: Record<string, string> } } };
}

describe('what the operator is allowed to do', () => {
  let rendered: Rendered[];

  beforeAll(async () => {
    await installOperator();
    const kinds = 'deployments,roles,clusterroles,networkpolicies';
    const names = await kubectl(['kustomize', `${root}deploy`]).then((yaml) => new Set([...yaml.matchAll(/^ {2}name: (\S+)$/gm)].map((match) => match[1])));
    const all = JSON.parse(await kubectl(['get', kinds, '-A', '-o', 'json'])) as { items: Rendered[] };
    rendered = all.items.filter((each) => names.has(each.metadata.name));
  });

  it('holds no wildcard, no secret and no way to more rights', () => {
    const rules = rendered.filter(({ kind }) => kind.endsWith('Role')).flatMap((role) => (role.rules ?? []).map((rule) => ({ name: role.metadata.name, ...rule })));
    expect(rules.length).toBeGreaterThan(8);
    for (const { name, apiGroups, resources, verbs } of rules) {
      expect([...apiGroups, ...resources, ...verbs], name).not.toContain('*');
      expect(resources.filter((resource) => /secrets|roles|rolebindings|serviceaccounts|pods\/exec|^nodes/.test(resource)), name).toEqual([]);
      expect(verbs.filter((verb) => ['escalate', 'bind', 'impersonate', 'deletecollection'].includes(verb)), name).toEqual([]);
    }
  });

  it('gives the controller one lease to write, and no other', () => {
    const rules = rendered.flatMap((role) => (role.rules ?? []).filter(({ resources }) => resources.includes('leases')));
    expect(rules.filter(({ resourceNames }) => resourceNames === undefined).flatMap(({ verbs }) => verbs)).toEqual(['create']);
    expect(rules.flatMap(({ resourceNames = [] }) => resourceNames)).toEqual([leaseName]);
  });

  it('lets in probes and scrapes of the health port, and out name resolution and the API server, of the controller and of agents', async () => {
    const found = rendered.filter(({ kind }) => kind === 'NetworkPolicy') as unknown as { metadata: { namespace: string }; spec: object }[];
    const tcp = (port: number | string) => ({ port, protocol: 'TCP' });
    expect(found.map(({ metadata, spec }) => ({ in: metadata.namespace, ...spec }))).toEqual([{
      in: namespace, podSelector: { matchLabels: { [nameLabel]: operatorName } }, policyTypes: ['Ingress', 'Egress'],
      ingress: [{ ports: [tcp('health')] }],
      egress: [{ ports: [{ port: 53, protocol: 'UDP' }, tcp(53), tcp(443), tcp(6443)] }],
    }]);
    const templates = [rendered.find(({ kind }) => kind === 'Deployment'), await daemonSetOf(aPolicy())].map((workload) => workload?.spec?.template);
    for (const template of templates) {
      expect(template?.metadata.labels).toMatchObject({ [nameLabel]: operatorName });
      expect(JSON.stringify(template?.spec)).toContain('"name":"health"');
    }
  });

  it('gives the controller nothing that the Restricted profile would refuse', async () => {
    const deployment = rendered.find(({ kind }) => kind === 'Deployment');
    expect(await violations('restricted', deployment?.spec?.template.spec ?? {})).toEqual([]);
  });

  it('gives an agent one thing that the Baseline profile would refuse, its host paths', async () => {
    expect(await violations('baseline', await agentsOf(aPolicy()))).toEqual([expect.stringMatching(/^hostPath volumes/)]);
  });

  it('gives an agent of a directory cache a second one, CAP_LEASE, and nothing else', async () => {
    const caches = [{ name: 'models', directory: { path: '/var/cache/models' }, limits: { maxEntries: 1 } }];
    const found = await violations('baseline', await agentsOf(aPolicy({ caches } as never)));
    expect(found.toSorted()).toEqual([expect.stringMatching(/^hostPath volumes/), expect.stringMatching(/^non-default capabilities .*"LEASE"/)]);
  });

  async function agentsOf(manifest: object): Promise<object> {
    return (await daemonSetOf(manifest)).spec?.template.spec ?? {};
  }

  async function daemonSetOf(manifest: object): Promise<Rendered> {
    const { policy } = validatePolicy(manifest);
    if (policy === undefined) throw new Error('the policy of the test is invalid');
    const object = { ...policy, metadata: { ...policy.metadata, uid: 'uid', generation: 1 } } as PolicyObject;
    const { compiled, rootsInUse } = await admitAlone(object, ['/var/lib/a3s-box', '/var/cache'], Date.now());
    return desiredChildren({ policy: object, compiled, rootsInUse, namespace, image: 'image:1' }).find(({ kind }) => kind === 'DaemonSet') as unknown as Rendered;
  }

  /** What a namespace of the level warns about when it is asked to take the pod; nothing is made. */
  async function violations(level: 'baseline' | 'restricted', spec: object): Promise<string[]> {
    const name = `pod-security-${level}`;
    const labels = { [`pod-security.kubernetes.io/warn`]: level };
    await kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }));
    const { kubectlPath, kubeconfigPath } = controlPlane();
    const job = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'probe', namespace: name }, spec: { selector: { matchLabels: { a: 'b' } }, template: { metadata: { labels: { a: 'b' } }, spec } } };
    const running = promisify(execFile)(kubectlPath, ['--kubeconfig', kubeconfigPath, 'apply', '--dry-run=server', '-f', '-']);
    running.child.stdin?.end(JSON.stringify(job));
    const { stderr } = await running;
    const found = /would violate PodSecurity "[^"]*": (.*)/.exec(stderr)?.[1];
    return found === undefined ? [] : found.split(/(?<=\)), /);
  }
});
