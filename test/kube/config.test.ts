import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { inClusterConnection, isInCluster } from '../../src/kube/config.ts';
import { kubeconfigConnection } from '../../src/kube/kubeconfig.ts';

let dir: string;
beforeEach(async () => void (dir = await mkdtemp(path.join(tmpdir(), 'kube-config-'))));
afterEach(() => rm(dir, { recursive: true }));

describe('the connection of a pod', () => {
  const account = async () => {
    await Promise.all([writeFile(path.join(dir, 'namespace'), 'cachepolicy-system'), writeFile(path.join(dir, 'token'), 'one\n'), writeFile(path.join(dir, 'ca.crt'), 'PEM')]);
    return { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '8443', CACHEPOLICY_SERVICE_ACCOUNT_DIR: dir };
  };

  it('comes from the environment and the files of the service account', async () => {
    const env = await account();
    expect(isInCluster(env)).toBe(true);
    const connection = inClusterConnection(env);
    expect(connection.server.href).toBe('https://10.96.0.1:8443/');
    expect(connection.namespace).toBe('cachepolicy-system');
    expect(await connection.credentials()).toEqual({ authorization: 'Bearer one', ca: 'PEM' });
    await writeFile(path.join(dir, 'token'), 'two\n');
    expect(await connection.credentials()).toEqual({ authorization: 'Bearer two', ca: 'PEM' });
  });

  it('may have an address of version 6', async () => {
    expect(inClusterConnection({ ...(await account()), KUBERNETES_SERVICE_HOST: 'fd00::1' }).server.href).toBe('https://[fd00::1]:8443/');
  });

  it('is refused with what is missing', async () => {
    const env = await account();
    expect(isInCluster({})).toBe(false);
    expect(() => inClusterConnection({})).toThrow('KUBERNETES_SERVICE_HOST is not set');
    expect(() => inClusterConnection({ ...env, KUBERNETES_SERVICE_PORT: 'x' })).toThrow('are no address');
    expect(() => inClusterConnection({ ...env, CACHEPOLICY_SERVICE_ACCOUNT_DIR: path.join(dir, 'none') })).toThrow('the service account cannot be read: ENOENT');
    await rm(path.join(dir, 'token'));
    await expect(inClusterConnection(env).credentials()).rejects.toMatchObject({ code: 'ERR_KUBE_CONFIG' });
  });
});

describe('the connection of a kubeconfig', () => {
  const write = async (user: object, cluster: object = {}) => {
    const file = path.join(dir, 'config');
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:6443', ...cluster } }],
      users: [{ name: 'u', user }],
      contexts: [{ name: 'ctx', context: { cluster: 'c', user: 'u', namespace: 'team' } }, { name: 'broken', context: { cluster: 'none', user: 'u' } }],
      'current-context': 'ctx',
    };
    await writeFile(file, JSON.stringify(config));
    return file;
  };

  it('has the server, the namespace and a token', async () => {
    const connection = await kubeconfigConnection({ file: await write({ token: 'secret' }, { 'insecure-skip-tls-verify': true }) });
    expect(connection).toMatchObject({ namespace: 'team' });
    expect(connection.server.href).toBe('https://127.0.0.1:6443/');
    expect(await connection.credentials()).toEqual({ authorization: 'Bearer secret', insecure: true });
  });

  it('has certificates, and the name to expect', async () => {
    const data = (text: string) => Buffer.from(text).toString('base64');
    const cluster = { 'certificate-authority-data': data('CA'), 'tls-server-name': 'kubernetes' };
    const file = await write({ 'client-certificate-data': data('CERT'), 'client-key-data': data('KEY') }, cluster);
    expect(await (await kubeconfigConnection({ file })).credentials()).toEqual({ ca: 'CA', cert: 'CERT', key: 'KEY', serverName: 'kubernetes' });
  });

  it('asks an exec plug-in', async () => {
    const plugin = path.join(dir, 'plugin.sh');
    await mkdir(dir, { recursive: true });
    await writeFile(plugin, `#!/bin/sh\necho '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"from-plugin"}}'\n`);
    await chmod(plugin, 0o755);
    const file = await write({ exec: { apiVersion: 'client.authentication.k8s.io/v1', command: plugin, interactiveMode: 'Never' } });
    expect(await (await kubeconfigConnection({ file })).credentials()).toMatchObject({ authorization: 'Bearer from-plugin' });
  });

  it('is refused with what is wrong', async () => {
    const refusal = (options: object) => kubeconfigConnection(options).catch((error: unknown) => error);
    const file = await write({ token: 't' });
    expect(await refusal({ file: path.join(dir, 'none') })).toMatchObject({ code: 'ERR_KUBE_CONFIG', message: expect.stringContaining('ENOENT') });
    expect(await refusal({ file, context: 'other' })).toMatchObject({ code: 'ERR_KUBE_CONFIG', message: 'the kubeconfig has no context "other" with a cluster' });
    expect(await refusal({ file, context: 'broken' })).toMatchObject({ code: 'ERR_KUBE_CONFIG' });
    await writeFile(file, '{');
    expect(await refusal({ file })).toMatchObject({ code: 'ERR_KUBE_CONFIG' });
    expect(await refusal({ file: await write({}, { 'proxy-url': 'http://proxy' }) })).toMatchObject({ message: 'cluster c: proxy-url is not supported' });
  });
});
