import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { describe, expect, it, onTestFinished, vi } from 'vitest';

import { availableGuard, startChild, type Guard } from '../cluster/child.ts';
import { startControlPlane } from '../cluster/control-plane.ts';
import { processesNaming } from '../cluster/teardown-check.ts';
import { abandonedRunDirs, removeAbandonedRuns } from '../cluster/run-dir.ts';
import { run } from '../cluster/run.ts';
import { silent } from '../cluster/log.ts';
import { controlPlane } from './cluster.ts';

const CLUSTER_TIMEOUT_MS = 120_000;

async function temporaryDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'control-plane-spec-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  return dir;
}

describe('the shared control plane', () => {
  it('answers kubectl with the kubeconfig it provides', async () => {
    const { kubectlPath, kubeconfigPath } = controlPlane();
    const namespaces = await run(kubectlPath, ['--kubeconfig', kubeconfigPath, 'get', 'namespaces', '-o', 'name']);
    expect(namespaces.split('\n')).toContain('namespace/default');
  });
});

describe('a control plane of its own', () => {
  it('runs controllers, survives a restart of each component, and leaves no process and no file', { timeout: CLUSTER_TIMEOUT_MS }, async () => {
    const controlPlane = await startControlPlane();
    const { path, name } = controlPlane.runDir;
    try {
      await controlPlane.kubectl(['create', 'deployment', 'web', '--image=example']);
      await controlPlane.stopComponent('kube-apiserver');
      await expect(controlPlane.kubectl(['get', 'namespaces'])).rejects.toThrow(/refused/);
      await controlPlane.stopComponent('etcd');
      await controlPlane.startComponent('etcd');
      await controlPlane.startComponent('kube-apiserver');
      await controlPlane.kubectl(['wait', '--for=jsonpath={.status.replicas}=1', 'deployment/web', '--timeout=60s']);
      const pods = await controlPlane.kubectl(['get', 'pods', '-o', 'jsonpath={.items[*].metadata.ownerReferences[*].kind}']);
      expect(pods).toBe('ReplicaSet');
      expect(processesNaming(name)).toHaveLength(4);
    } finally {
      await controlPlane.stop();
    }
    expect(processesNaming(name)).toEqual([]);
    expect(existsSync(path)).toBe(false);
  });

  it('says which component failed, and shows the end of its log', { timeout: CLUSTER_TIMEOUT_MS }, async () => {
    const attempt = startControlPlane({ components: ['etcd'], extraFlags: { etcd: ['--data-dir=/dev/null/data'] } });
    await expect(attempt).rejects.toThrow(/^etcd ended with status \d+; the end of .*etcd\.log:\n[^]*\/dev\/null\/data/);
  });

  it('gives pods tokens that name their pod and their node', { timeout: CLUSTER_TIMEOUT_MS }, async () => {
    const { kubectlPath, kubeconfigPath } = controlPlane();
    const kubectl = (args: string[], input = '') => run(kubectlPath, ['--kubeconfig', kubeconfigPath, ...args], { input });
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'token-node' } };
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'token-pod', namespace: 'default' },
      spec: { nodeName: 'token-node', containers: [{ name: 'main', image: 'example' }] },
    };
    await kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [node, pod] }));
    onTestFinished(async () => {
      await kubectl(['delete', 'pod', 'token-pod', '--force', '--grace-period=0']);
      await kubectl(['delete', 'node', 'token-node']);
    });
    const token = (await kubectl(['create', 'token', 'default', '--bound-object-kind=Pod', '--bound-object-name=token-pod'])).trim();
    const claims = JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString());
    expect(claims['kubernetes.io']).toMatchObject({ node: { name: 'token-node' }, pod: { name: 'token-pod' } });
  });

  it('does not outlive a process that is killed, and the next run removes what is left', { timeout: CLUSTER_TIMEOUT_MS }, async () => {
    // In a folder of its own: another file's start would remove what is left, too.
    vi.stubEnv('TMPDIR', await temporaryDir());
    onTestFinished(() => void vi.unstubAllEnvs());
    const script = `
      import { startControlPlane } from './test/cluster/control-plane.ts';
      const { runDir } = await startControlPlane({ components: ['etcd', 'kube-apiserver'] });
      console.log(runDir.path);
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const path = await new Promise<string>((resolve) => parent.stdout.once('data', (line: Buffer) => resolve(line.toString().trim())));
    expect(processesNaming(path)).toHaveLength(2);
    parent.kill('SIGKILL');
    await vi.waitFor(() => expect(processesNaming(path)).toEqual([]), { timeout: 10_000 });
    await vi.waitFor(() => expect(abandonedRunDirs()).toContain(path));
    removeAbandonedRuns(silent);
    expect(existsSync(path)).toBe(false);
  });
});

describe.each<Guard>(availableGuard() === 'setpriv' ? ['setpriv', 'shell'] : ['shell'])('a child process guarded by %s', (guard) => {
  it('ends on SIGTERM and by itself, with its own status', async () => {
    const dir = await temporaryDir();
    const logFile = join(dir, 'log');
    const sleeper = await startChild('sh', ['-c', 'trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.05; done'], { logFile, guard });
    await vi.waitFor(async () => expect(await readFile(logFile, 'utf8')).toBe('up\n'));
    expect(await sleeper.stop()).toEqual({ code: 3, signal: null });
    expect(sleeper.tail()).toBe('up\nbye');
    const short = await startChild('sh', ['-c', 'exit 4'], { logFile, guard });
    expect(await short.exited).toEqual({ code: 4, signal: null });
  });

  it('is killed when it does not end in time', async () => {
    const logFile = join(await temporaryDir(), 'log');
    const deaf = await startChild('sh', ['-c', `trap "" TERM; echo up ${logFile}; while :; do sleep 0.05; done`, logFile], { logFile, guard });
    await vi.waitFor(async () => expect(await readFile(logFile, 'utf8')).toContain('up'));
    await deaf.stop(100);
    await vi.waitFor(() => expect(processesNaming(logFile)).toEqual([]));
  });

  it('ends when its parent is killed', async () => {
    const dir = await temporaryDir();
    const script = `
      import { startChild } from './test/cluster/child.ts';
      await startChild('sh', ['-c', 'while :; do sleep 0.05; done', '${dir}'], { logFile: '${dir}/log', guard: '${guard}' });
      console.log('up');
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => parent.stdout.once('data', resolve));
    await delay(100);
    const children = processesNaming(dir).filter(({ pid }) => pid !== parent.pid);
    expect(children.length).toBeGreaterThan(0);
    parent.kill('SIGKILL');
    await vi.waitFor(() => expect(processesNaming(dir)).toEqual([]), { timeout: 5_000 });
  });
});
