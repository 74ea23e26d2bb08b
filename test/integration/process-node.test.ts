import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { containerProcess, expand, localPath } from '../cluster/container-process.ts';
import type { Pod } from '../cluster/pod.ts';
import { startProcessNode, type ProcessNode } from '../cluster/process-node.ts';
import { run } from '../cluster/run.ts';
import { controlPlane } from './cluster.ts';

const TIMEOUT_MS = 60_000;
const namespace = 'process-node-spec';
const image = 'example:test';

// Answers its probes, prints what it finds of its pod and its node, and takes its time to end.
const program = `
  const { createServer } = require('node:http');
  const { existsSync, readFileSync, readdirSync } = require('node:fs');
  const https = require('node:https');
  const env = process.env;
  const at = (path) => env.CACHEPOLICY_HOST_ROOT + path;
  const [, config] = process.argv.find((argument) => argument.startsWith('--config=')).split('=');
  createServer((request, response) => {
    response.statusCode = existsSync(at('/var/lib/data/unready')) ? 503 : 200;
    response.end();
  }).listen(8080, env.POD_IP);
  process.on('SIGTERM', () => { console.log('ending'); setTimeout(() => process.exit(0), 300); });
  const account = (name) => readFileSync(env.CACHEPOLICY_SERVICE_ACCOUNT_DIR + '/' + name, 'utf8');
  https.request({
    method: 'POST', host: env.KUBERNETES_SERVICE_HOST, port: env.KUBERNETES_SERVICE_PORT, ca: account('ca.crt'),
    path: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
    headers: { authorization: 'Bearer ' + account('token'), 'content-type': 'application/json' },
  }, async (response) => {
    const review = JSON.parse(Buffer.concat(await response.toArray()).toString());
    console.log(JSON.stringify({
      user: review.status.userInfo.username,
      node: review.status.userInfo.extra['authentication.kubernetes.io/node-name'],
      pod: [env.NODE_NAME, env.POD_NAME, account('namespace')],
      data: readdirSync(at('/var/lib/data')),
    }));
  }).end(JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' }));
  let last;
  setInterval(() => {
    const text = existsSync(config) ? readFileSync(config, 'utf8') : 'nothing';
    if (text !== last) console.log('config is ' + (last = text));
  }, 50);`;

const fieldEnv = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });

function daemonSet(name: string, hostPath = '/var/lib/data'): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name, namespace },
    spec: {
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          nodeSelector: { spec: 'process-node' },
          containers: [
            {
              name: 'main',
              image,
              command: ['/nodejs/bin/node', '/app/main.cjs'],
              args: ['--config=/etc/example/text', '--listen=$(POD_IP):8080'],
              env: [
                fieldEnv('NODE_NAME', 'spec.nodeName'),
                fieldEnv('POD_NAME', 'metadata.name'),
                fieldEnv('POD_IP', 'status.podIP'),
              ],
              ports: [{ name: 'health', containerPort: 8080 }],
              readinessProbe: { httpGet: { path: '/readyz', port: 'health' }, periodSeconds: 1, failureThreshold: 1 },
              volumeMounts: [
                { name: 'config', mountPath: '/etc/example' },
                { name: 'data', mountPath: hostPath },
              ],
            },
          ],
          volumes: [
            { name: 'config', configMap: { name, optional: true } },
            { name: 'data', hostPath: { path: hostPath, type: 'Directory' } },
          ],
        },
      },
    },
  };
}

describe('two process nodes', () => {
  let dir: string;
  let nodes: ProcessNode[];

  const kubectl = (args: string[], input = '') => {
    const { kubectlPath, kubeconfigPath } = controlPlane();
    return run(kubectlPath, ['--kubeconfig', kubeconfigPath, '--namespace', namespace, ...args], { input });
  };
  const apply = (object: object) => kubectl(['apply', '-f', '-'], JSON.stringify(object));
  const rolledOut = (name: string) => kubectl(['rollout', 'status', `daemonset/${name}`, '--timeout=30s']);
  const podOn = async (app: string, node: string) =>
    kubectl(['get', 'pods', '-l', `app=${app}`, `--field-selector=spec.nodeName=${node}`, '-o', 'jsonpath={.items[*].metadata.name}']);
  const podField = (pod: string, path: string) => kubectl(['get', 'pod', pod, '-o', `jsonpath={${path}}`]);
  const soon = (assertion: () => Promise<unknown>) => vi.waitFor(assertion, { timeout: 20_000, interval: 100 });
  const start = (name: string) =>
    startProcessNode({
      name,
      controlPlane: controlPlane(),
      labels: { spec: 'process-node' },
      hostRoot: join(dir, name, 'root'),
      dir: join(dir, name, 'pods'),
      images: { [image]: { files: { '/nodejs/bin/node': process.execPath, '/app': dir } } },
      volumeSyncMs: 100,
    });

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'process-node-spec-'));
    await writeFile(join(dir, 'main.cjs'), program);
    await kubectl(['create', 'namespace', namespace]);
    for (const name of ['process-1', 'process-2']) {
      await mkdir(join(dir, name, 'root/var/lib/data'), { recursive: true });
      await writeFile(join(dir, name, 'root/var/lib/data', `of-${name}`), '');
    }
    nodes = await Promise.all(['process-1', 'process-2'].map(start));
    await apply(daemonSet('shared'));
  }, TIMEOUT_MS);

  afterAll(async () => {
    await kubectl(['delete', 'daemonset', '--all']);
    await Promise.all((nodes ?? []).map((node) => node.stop()));
    await kubectl(['delete', 'namespace', namespace, '--wait=false']);
    await rm(dir, { recursive: true });
  }, TIMEOUT_MS);

  it('run the pods of a DaemonSet, each with its own host root and its own token', { timeout: TIMEOUT_MS }, async () => {
    await rolledOut('shared');
    for (const node of nodes) {
      const pod = await podOn('shared', node.name);
      await soon(async () => expect(node.logs(pod)).toContain('"user"'));
      const seen = JSON.parse(node.logs(pod).split('\n').find((line) => line.startsWith('{')) as string);
      expect(seen).toEqual({
        user: `system:serviceaccount:${namespace}:default`,
        node: [node.name],
        pod: [node.name, pod, namespace],
        data: [`of-${node.name}`],
      });
    }
  });

  it('bring a ConfigMap into its volume when it appears and when it changes', { timeout: TIMEOUT_MS }, async () => {
    const [node] = nodes as [ProcessNode];
    const pod = await podOn('shared', node.name);
    await soon(async () => expect(node.logs(pod)).toContain('config is nothing'));
    await kubectl(['create', 'configmap', 'shared', '--from-literal=text=one']);
    await soon(async () => expect(node.logs(pod)).toContain('config is one'));
    await apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'shared' }, data: { text: 'two' } });
    await soon(async () => expect(node.logs(pod)).toContain('config is two'));
  });

  it('say when a pod turns unready, and ready again', { timeout: TIMEOUT_MS }, async () => {
    const [node] = nodes as [ProcessNode];
    const pod = await podOn('shared', node.name);
    const ready = () => podField(pod, '.status.conditions[?(@.type=="Ready")].status');
    const unready = join(node.hostRoot, 'var/lib/data/unready');
    await writeFile(unready, '');
    await soon(async () => expect(await ready()).toBe('False'));
    await rm(unready);
    await soon(async () => expect(await ready()).toBe('True'));
    expect(await podField(pod, '.status.conditions[?(@.type=="PodScheduled")].status')).toBe('True');
  });

  it('start a container again when its process is killed, and count it', { timeout: TIMEOUT_MS }, async () => {
    const [node] = nodes as [ProcessNode];
    const pod = await podOn('shared', node.name);
    process.kill(node.pid(pod) as number, 'SIGKILL');
    await soon(async () => expect(await podField(pod, '.status.containerStatuses[0].restartCount')).toBe('1'));
    expect(await podField(pod, '.status.containerStatuses[0].lastState.terminated.exitCode')).toBe('137');
    await rolledOut('shared');
  });

  it('keep a pod waiting while its host path is missing, and start it when that appears', { timeout: TIMEOUT_MS }, async () => {
    const [node] = nodes as [ProcessNode];
    await apply(daemonSet('late', '/var/lib/late'));
    await soon(async () => expect(await podOn('late', node.name)).not.toBe(''));
    const pod = await podOn('late', node.name);
    const waiting = '.status.containerStatuses[0].state.waiting';
    await soon(async () => expect(await podField(pod, `${waiting}.message`)).toBe('hostPath type check failed: /var/lib/late is not a directory'));
    expect(await podField(pod, `${waiting}.reason`)).toBe('ContainerCreating');
    for (const { hostRoot } of nodes) await mkdir(join(hostRoot, 'var/lib/late'));
    await rolledOut('late');
  });

  it('let a deleted pod end by itself, and only then remove it', { timeout: TIMEOUT_MS }, async () => {
    const [node] = nodes as [ProcessNode];
    const pod = await podOn('shared', node.name);
    const pid = node.pid(pod) as number;
    await kubectl(['delete', 'pod', pod, '--wait=true']);
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    await soon(async () => expect(await podOn('shared', node.name)).toMatch(/^shared-\w+$/));
    await rolledOut('shared');
  });

  it('lose every process when they crash, and run their pods again when they are back', { timeout: TIMEOUT_MS }, async () => {
    const [node, other] = nodes as [ProcessNode, ProcessNode];
    const pod = await podOn('shared', node.name);
    const pid = node.pid(pod) as number;
    await node.crash();
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(await podField(pod, '.status.phase')).toBe('Running');
    const back = await start(node.name);
    nodes = [back, other];
    await soon(async () => expect(back.pid(pod)).toBeGreaterThan(0));
  });

  it('leave the cluster with their pods when they stop', { timeout: TIMEOUT_MS }, async () => {
    const [node, other] = nodes as [ProcessNode, ProcessNode];
    const pid = other.pid(await podOn('shared', other.name)) as number;
    await other.stop();
    nodes = [node];
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(await podOn('shared', other.name)).toBe('');
    await expect(kubectl(['get', 'node', other.name])).rejects.toThrow(/NotFound/);
  });
});

describe('the process of a container', () => {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'pod-1', namespace: 'ns', uid: 'u-1', labels: { app: 'web' } },
    spec: { nodeName: 'node-1', containers: [] },
  };
  const inputs = { pod, image: { files: { '/bin/tool': '/local/tool' } }, mounts: new Map(), podIP: '127.64.0.1', hostIP: '127.64.0.2', baseEnv: { A: 'a' } };

  it('has variables replaced in later variables and in arguments', () => {
    const env = [{ name: 'B', value: '$(A)-$(C)' }, { name: 'C', value: '$$(A)' }, { name: 'APP', valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } }];
    const { argv, env: result } = containerProcess({ ...inputs, container: { name: 'main', command: ['/bin/tool', '$(B)', '$(APP)'], env } });
    expect(argv).toEqual(['/local/tool', 'a-$(C)', 'web']);
    expect(result).toEqual({ A: 'a', B: 'a-$(C)', C: '$(A)', APP: 'web' });
  });

  it('leaves unknown variables as they are', () => expect(expand('$(NO) $5 $$', {})).toBe('$(NO) $5 $$'));

  it.each([
    ['/app', '/dist'],
    ['/app/a.cjs', '/dist/a.cjs'],
    ['/app/deep/b', '/elsewhere/b'],
    ['--file=/app/a.cjs', '--file=/dist/a.cjs'],
    ['/application', '/application'],
    ['text=/app/a', 'text=/app/a'],
    ['--policy=app', '--policy=app'],
  ])('finds the path of argument %s at %s', (argument, expected) => {
    expect(localPath(argument, new Map([['/app', '/dist'], ['/app/deep', '/elsewhere']]))).toBe(expected);
  });

  it('refuses fields and sources that it does not know', () => {
    const container = (valueFrom: object) => ({ name: 'main', command: ['/bin/tool'], env: [{ name: 'X', valueFrom }] });
    expect(() => containerProcess({ ...inputs, container: container({ fieldRef: { fieldPath: 'spec.nope' } }) })).toThrow('no field spec.nope');
    expect(() => containerProcess({ ...inputs, container: container({ secretKeyRef: { name: 's', key: 'k' } }) })).toThrow('no secretKeyRef for X');
  });
});
