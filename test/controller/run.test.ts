import http from 'node:http';
import { text as readBody } from 'node:stream/consumers';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runController } from '../../src/controller/run.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { silentLog } from '../../src/observe/log.ts';
import type { Log } from '../../src/observe/log.ts';
import { allowedRoots, aPolicy } from './builders.ts';

/** An API server with nothing in it but the allowed roots, on which a lease can be made and never renewed. */
let server: http.Server;
/** How many questions for the Deployment are answered with 500 before one is answered. */
let deploymentFailures = 0;
let asked: string[];
let paths: string[];
/** Of the DaemonSets that are applied. */
let images: string[];
let policies: PolicyObject[];
/** Of the template of the Deployment; undefined: there is none. */
let containers: { name: string; image: string }[] | undefined;
const open = () => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));

const roots = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'cachepolicy-allowed-roots', namespace: 'test', uid: 'roots', resourceVersion: '1' }, data: { roots: allowedRoots.join('\n') } };

beforeEach(async () => {
  asked = [];
  paths = [];
  images = [];
  deploymentFailures = 0;
  policies = [];
  containers = [{ name: 'mesh', image: 'mesh:1' }, { name: 'controller', image: 'image:1' }];
  server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://server');
    paths.push(url.pathname);
    asked.push(`${request.method} ${url.pathname.replace(/.*\//, '')}`);
    const answer = (code: number, body: object) => response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (url.searchParams.has('watch')) return response.writeHead(200).flushHeaders();
    if (url.pathname.endsWith('/deployments/cachepolicy-controller')) {
      if (deploymentFailures-- > 0) return answer(500, { kind: 'Status', code: 500 });
      return containers === undefined ? answer(404, { kind: 'Status', code: 404, reason: 'NotFound' }) : answer(200, { metadata: { name: 'cachepolicy-controller' }, spec: { template: { spec: { containers } } } });
    }
    const policy = policies.find(({ metadata: { name } }) => url.pathname.endsWith(`/cachepolicies/${name}`));
    if (request.method === 'GET' && policy !== undefined) return answer(200, policy);
    if (request.method === 'GET' && url.pathname.endsWith('/cachepolicies')) return answer(200, { metadata: { resourceVersion: '1' }, items: policies });
    if (request.method === 'GET' && url.pathname.endsWith('/configmaps')) return answer(200, { metadata: { resourceVersion: '1' }, items: [roots] });
    if (request.method === 'GET') return url.pathname.endsWith('/leases/cachepolicy-controller') ? answer(404, { kind: 'Status', code: 404, reason: 'NotFound' }) : answer(200, { metadata: { resourceVersion: '1' }, items: [] });
    if (request.method === 'PATCH' && url.pathname.includes('/daemonsets/') && !url.searchParams.has('dryRun')) void readBody(request).then((text) => images.push(/"image":"([^"]+)"/.exec(text)?.[1] ?? text));
    if (request.method === 'PATCH') return url.pathname.endsWith('/daemonsets/cachepolicy-slow') ? undefined : answer(200, { metadata: { name: 'x', generation: 1, resourceVersion: '2' } });
    if (request.method !== 'POST') return answer(500, { kind: 'Status', code: 500 });
    void readBody(request).then((body) => {
      const lease = JSON.parse(body) as { metadata: object };
      answer(201, { ...lease, metadata: { ...lease.metadata, resourceVersion: '2' } });
    });
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
const quickStatuses = () => paths.filter((path) => path.endsWith('/cachepolicies/quick/status')).length;

afterEach(() => new Promise<void>((resolve) => {
  delete process.env['POD_NAME'];
  server.close(() => resolve());
  server.closeAllConnections();
}));

/** A controller of that server, whose pod is `me`. */
function start(image: string | undefined, signal: AbortSignal, log: Log = silentLog): Promise<void> {
  process.env['POD_NAME'] = 'me';
  const { port } = server.address() as AddressInfo;
  const connection = { server: new URL(`http://127.0.0.1:${port}`), namespace: 'test', credentials: async () => ({}) };
  return runController({ connection, namespace: 'test', image, listen: '127.0.0.1:0', version: '0', log }, signal);
}

describe('a controller that cannot renew its lease', () => {
  it('ends, and leaves no watch behind that would keep its process alive', async () => {
    const running = start('image:1', new AbortController().signal);
    await expect(running).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' });
    // What went before it leads was for the former leader to count.
    expect(asked.indexOf('GET nodecaches')).toBeGreaterThan(asked.indexOf('POST leases'));
    await expect.poll(open, { timeout: 5_000 }).toBe(0);
  }, 30_000);
});

describe('a controller that is told to stop', () => {
  it('in the very moment in which it begins to lead ends, and gives the lease back', async () => {
    const stopping = new AbortController();
    const log: Log = { ...silentLog, child: () => log, debug: () => undefined, warn: () => undefined, error: () => undefined, info: (_, message) => void (message === 'this process leads' && stopping.abort()) };
    await start('image:1', stopping.signal, log);
    expect(asked).toContain('PUT cachepolicy-controller');
  }, 20_000);
});

describe('a controller of two policies', () => {
  it('lets neither wait for the other, whose DaemonSet nobody answers for', async () => {
    policies = ['slow', 'quick'].map((name) => aPolicy({ nodeSelector: { pool: name } }, { name, uid: name }));
    const stopping = new AbortController();
    const running = start('image:1', stopping.signal).catch(() => undefined);
    await expect.poll(() => asked, { timeout: 20_000 }).toContain('PATCH cachepolicy-slow');
    // One after the other it would take longer than this lease lasts.
    await expect.poll(() => quickStatuses(), { timeout: 20_000 }).toBeGreaterThan(0);
    stopping.abort();
    await running;
  }, 60_000);
});

describe('a controller that starts while the API server cannot answer', () => {
  it('asks its Deployment for the image of the agents until there is an answer, instead of ending', async () => {
    const stopping = new AbortController();
    deploymentFailures = 2;
    let ended = false;
    const running = start(undefined, stopping.signal).finally(() => (ended = true));
    await expect.poll(() => deploymentFailures, { timeout: 20_000 }).toBe(-1);
    expect(ended).toBe(false);
    stopping.abort();
    await running;
  }, 30_000);

  it('ends without an error when it is told to before it knows', async () => {
    const stopping = new AbortController();
    deploymentFailures = Infinity;
    const running = start(undefined, stopping.signal);
    await expect.poll(open, { timeout: 5_000 }).toBeGreaterThan(0);
    stopping.abort();
    await running;
  }, 30_000);
});

describe('the image of the agents', () => {
  it('is that of the controller in its Deployment, whatever a sidecar before it and a webhook for pods name', async () => {
    policies = [aPolicy()];
    const stopping = new AbortController();
    const running = start(undefined, stopping.signal);
    await expect.poll(() => images, { timeout: 20_000 }).toContain('image:1');
    expect(new Set(images)).toEqual(new Set(['image:1']));
    expect(paths.filter((path) => path.includes('/pods/'))).toEqual([]);
    stopping.abort();
    await running;
  }, 30_000);

  it.each([
    ['there is no container of its name', [{ name: 'mesh', image: 'mesh:1' }], 'Deployment test/cachepolicy-controller has no container controller; say which image the agents run with --image'],
    ['there is no Deployment', undefined, 'Deployment test/cachepolicy-controller does not exist; say which image the agents run with --image'],
  ])('has to be said where %s', async (_, present, message) => {
    containers = present;
    await expect(start(undefined, AbortSignal.timeout(20_000))).rejects.toMatchObject({ code: 'ERR_KUBE_CONFIG', message });
  }, 30_000);
});
