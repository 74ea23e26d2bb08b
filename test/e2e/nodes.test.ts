import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { runtimeBaseImage, writeRuntimeBase } from '../cluster/image.ts';
import { silent, stderrLog } from '../cluster/log.ts';
import { canRun, startRealCluster, type RealCluster } from '../cluster/real-nodes.ts';
import { removeAbandonedRuns } from '../cluster/run-dir.ts';
import { leftoversOf } from '../cluster/teardown-check.ts';

const CLUSTER_TIMEOUT_MS = 300_000;
const reason = canRun();
if (reason !== undefined) console.warn(`e2e on real nodes is skipped: ${reason}`);

// Prints what it sees of its node and of the API, once a second, and answers SIGTERM at once.
const watcher = `
  const { readFileSync, readdirSync } = require('node:fs');
  const https = require('node:https');
  process.on('SIGTERM', () => process.exit(0));
  const account = '/var/run/secrets/kubernetes.io/serviceaccount/';
  const read = (name) => readFileSync(account + name, 'utf8');
  const host = process.env.KUBERNETES_SERVICE_HOST;
  const look = () => https.get({ host, port: 443, path: '/apis', ca: read('ca.crt'), headers: { authorization: 'Bearer ' + read('token') } },
    (response) => { response.resume(); console.log(host, response.statusCode, readdirSync('/var/lib/a3s-box', { recursive: true }).sort().join()); }
  ).on('error', (error) => console.log(error.message));
  look(); setInterval(look, 1000);`;

function daemonSet(name: string, priorityClassName?: string): string {
  const labels = { app: name };
  return JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name, namespace: 'kube-system' },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          ...(priorityClassName === undefined ? {} : { priorityClassName }),
          containers: [
            {
              name: 'watcher',
              image: runtimeBaseImage,
              imagePullPolicy: 'Never',
              command: ['/nodejs/bin/node', '-e', watcher],
              volumeMounts: [{ name: 'root', mountPath: '/var/lib/a3s-box', mountPropagation: 'HostToContainer' }],
            },
          ],
          volumes: [{ name: 'root', hostPath: { path: '/var/lib/a3s-box', type: 'Directory' } }],
        },
      },
    },
  });
}

describe.skipIf(reason !== undefined && process.env['REQUIRE'] !== 'all')('two real nodes', () => {
  let cluster: RealCluster;
  let images: string;

  const kubectl = (...args: string[]) => cluster.controlPlane.kubectl(['--namespace', 'kube-system', ...args]);
  const apply = (manifest: string) => cluster.controlPlane.kubectl(['apply', '-f', '-'], { input: manifest });
  const podsOn = async (app: string) =>
    Object.fromEntries(
      (await kubectl('get', 'pods', '-l', `app=${app}`, '-o', 'jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}{"\\n"}{end}'))
        .trim()
        .split('\n')
        .map((line) => line.split(' ') as [string, string]),
    );

  beforeAll(async () => {
    images = await mkdtemp(join(tmpdir(), 'nodes-spec-'));
    const image = join(images, 'node.tar');
    await writeRuntimeBase(image);
    cluster = await startRealCluster({ labels: { 'a3s-box.io/runtime': 'true' }, images: [image], log: stderrLog });
    for (const node of cluster.nodes) {
      await mkdir(node.hostPath('/var/lib/a3s-box'));
      await writeFile(join(node.hostPath('/var/lib/a3s-box'), `data-of-${node.name}`), '');
    }
  }, CLUSTER_TIMEOUT_MS);

  afterAll(async () => {
    await cluster?.stop();
    await rm(images, { recursive: true, force: true });
  }, CLUSTER_TIMEOUT_MS);

  it('run the pods of a DaemonSet, each with its own data at the same host path, and with the API', { timeout: CLUSTER_TIMEOUT_MS }, async () => {
    await apply(daemonSet('watcher'));
    await kubectl('rollout', 'status', 'daemonset/watcher', '--timeout=90s');
    const pods = await podsOn('watcher');
    expect(Object.keys(pods).toSorted()).toEqual(['node-1', 'node-2']);
    for (const [node, pod] of Object.entries(pods)) {
      await vi.waitFor(async () => expect(await kubectl('logs', pod)).toContain(`10.96.0.1 200 data-of-${node}\n`), { timeout: 20_000, interval: 500 });
    }
  });

  it('show a pod what is mounted on the node while it runs', { timeout: CLUSTER_TIMEOUT_MS }, async () => {
    const [node] = cluster.nodes;
    const pod = (await podsOn('watcher'))['node-1'] as string;
    await node?.exec('mkdir', ['/var/lib/a3s-box/later']);
    await node?.exec('mount', ['-t', 'tmpfs', 'tmpfs', '/var/lib/a3s-box/later']);
    await node?.exec('touch', ['/var/lib/a3s-box/later/mounted']);
    await vi.waitFor(async () => expect(await kubectl('logs', pod, '--tail=1')).toContain('later/mounted'), { timeout: 20_000, interval: 500 });
    expect(existsSync(join(node?.hostPath('/var/lib/a3s-box/later') as string, 'mounted'))).toBe(false);
  });

  it('write nothing into folders of the machine', async () => {
    expect(existsSync('/var/lib/a3s-box/data-of-node-1')).toBe(false);
    expect(existsSync('/var/lib/kubelet/pods')).toBe(false);
  });

  it('start only critical pods while their disk is nearly full', { timeout: CLUSTER_TIMEOUT_MS }, async () => {
    const [node] = cluster.nodes;
    await node?.setDiskPressure(true);
    await apply(daemonSet('critical', 'system-node-critical'));
    await apply(daemonSet('ordinary'));
    await kubectl('rollout', 'status', 'daemonset/critical', '--timeout=90s');
    expect(Object.keys(await podsOn('critical')).toSorted()).toEqual(['node-1', 'node-2']);
    await vi.waitFor(async () => {
      const phases = await kubectl('get', 'pods', '-l', 'app=ordinary', '-o', 'jsonpath={range .items[*]}{.spec.nodeName}={.status.phase}/{.status.reason} {end}');
      expect(phases).toContain('node-2=Running/');
      expect(phases).not.toContain('node-1=Running/');
    }, { timeout: 60_000, interval: 500 });
    await node?.setDiskPressure(false);
    await kubectl('rollout', 'status', 'daemonset/ordinary', '--timeout=90s');
  });

  it('leave nothing behind when they stop', { timeout: CLUSTER_TIMEOUT_MS }, async () => {
    const { name, path } = cluster.controlPlane.runDir;
    const present = leftoversOf(name).join('\n');
    for (const kind of ['process', 'mount', 'link', 'cgroup', 'folder']) expect(present).toMatch(new RegExp(`^${kind} `, 'm'));
    await cluster.stop();
    expect(leftoversOf(name)).toEqual([]);
    expect(existsSync(path)).toBe(false);
  });

  it('leave no process, mount or link when the process that runs them is killed', { timeout: CLUSTER_TIMEOUT_MS }, async () => {
    const script = `
      import { startRealCluster } from './test/cluster/real-nodes.ts';
      const { controlPlane } = await startRealCluster({ nodes: ['node-1'] });
      console.log(controlPlane.runDir.path);
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const path = await new Promise<string>((resolve) => parent.stdout.once('data', (line: Buffer) => resolve(line.toString().trim())));
    expect(await readFile(join(path, 'owner.json'), 'utf8')).toContain(`"pid":${parent.pid}`);
    parent.kill('SIGKILL');
    await vi.waitFor(() => expect(leftoversOf(basename(path)).filter((line) => !/^(cgroup|folder) /.test(line))).toEqual([]), { timeout: 20_000 });
    removeAbandonedRuns(silent);
    expect(leftoversOf(basename(path))).toEqual([]);
  });
});
