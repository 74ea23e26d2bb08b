import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runController } from '../../src/controller/run.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { silentLog } from '../../src/observe/log.ts';
import type { Log } from '../../src/observe/log.ts';
import { allowedRoots, aPolicy } from './builders.ts';

/** An API server with nothing in it but the allowed roots, on which a lease can be made and never renewed. */
let server: http.Server;
/** How many questions for a pod are answered with 500 before one is answered. */
let podFailures = 0;
let asked: string[];
let paths: string[];
let policies: PolicyObject[];
let podContainers: { name: string; image: string }[];
const open = () => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));

const roots = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'cachepolicy-allowed-roots', namespace: 'test', uid: 'roots', resourceVersion: '1' }, data: { roots: allowedRoots.join('\n') } };

beforeEach(async () => {
  asked = [];
  paths = [];
  policies = [];
  podContainers = [{ name: 'mesh', image: 'mesh:1' }, { name: 'controller', image: 'image:1' }];
  server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://server');
    paths.push(url.pathname);
    asked.push(`${request.method} ${url.pathname.replace(/.*\//, '')}`);
    const answer = (code: number, body: object) => response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (url.searchParams.has('watch')) return response.writeHead(200).flushHeaders();
    if (url.pathname.includes('/pods/')) return podFailures-- > 0 ? answer(500, { kind: 'Status', code: 500 }) : answer(200, { metadata: { name: 'me' }, spec: { containers: podContainers } });
    const policy = policies.find(({ metadata: { name } }) => url.pathname.endsWith(`/cachepolicies/${name}`));
    if (request.method === 'GET' && policy !== undefined) return answer(200, policy);
    if (request.method === 'GET' && url.pathname.endsWith('/cachepolicies')) return answer(200, { metadata: { resourceVersion: '1' }, items: policies });
    if (request.method === 'GET' && url.pathname.endsWith('/configmaps')) return answer(200, { metadata: { resourceVersion: '1' }, items: [roots] });
    if (request.method === 'GET') return url.pathname.endsWith('/leases/cachepolicy-controller') ? answer(404, { kind: 'Status', code: 404, reason: 'NotFound' }) : answer(200, { metadata: { resourceVersion: '1' }, items: [] });
    if (request.method === 'PATCH') return url.pathname.endsWith('/daemonsets/cachepolicy-slow') ? undefined : answer(200, { metadata: { name: 'x', generation: 1, resourceVersion: '2' } });
    if (request.method !== 'POST') return answer(500, { kind: 'Status', code: 500 });
    let body = '';
    request.on('data', (data: Buffer) => void (body += data.toString())).on('end', () => {
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
  it('asks for its own image until it gets to know it, instead of ending', async () => {
    const stopping = new AbortController();
    podFailures = 2;
    let ended = false;
    const running = start(undefined, stopping.signal).finally(() => (ended = true));
    await expect.poll(() => podFailures, { timeout: 20_000 }).toBe(-1);
    expect(ended).toBe(false);
    stopping.abort();
    await running;
  }, 30_000);

  it('takes no other container of its pod for itself, such as one that a service mesh put there', async () => {
    podContainers = [{ name: 'mesh', image: 'mesh:1' }];
    await expect(start(undefined, AbortSignal.timeout(20_000))).rejects.toMatchObject({ code: 'ERR_KUBE_CONFIG' });
  }, 30_000);

  it('ends without an error when it is told to before it knows', async () => {
    const stopping = new AbortController();
    podFailures = Infinity;
    const running = start(undefined, stopping.signal);
    await expect.poll(open, { timeout: 5_000 }).toBeGreaterThan(0);
    stopping.abort();
    await running;
  }, 30_000);
});
