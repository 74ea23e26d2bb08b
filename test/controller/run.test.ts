import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runController } from '../../src/controller/run.ts';
import { silentLog } from '../../src/observe/log.ts';

/** An API server with nothing in it, on which a lease can be made and never renewed. */
let server: http.Server;
const open = () => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));

beforeEach(async () => {
  server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://server');
    const answer = (code: number, body: object) => response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (url.searchParams.has('watch')) return response.writeHead(200).flushHeaders();
    if (request.method === 'GET') return url.pathname.endsWith('/leases/cachepolicy-controller') ? answer(404, { kind: 'Status', code: 404, reason: 'NotFound' }) : answer(200, { metadata: { resourceVersion: '1' }, items: [] });
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
afterEach(() => new Promise<void>((resolve) => {
  server.close(() => resolve());
  server.closeAllConnections();
}));

describe('a controller that cannot renew its lease', () => {
  it('ends, and leaves no watch behind that would keep its process alive', async () => {
    const { port } = server.address() as AddressInfo;
    const connection = { server: new URL(`http://127.0.0.1:${port}`), namespace: 'test', credentials: async () => ({}) };
    const running = runController({ connection, namespace: 'test', image: 'image:1', listen: '127.0.0.1:0', version: '0', log: silentLog }, new AbortController().signal);
    await expect(running).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' });
    await expect.poll(open, { timeout: 5_000 }).toBe(0);
  }, 30_000);
});
