import { connect } from 'node:net';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { loopDelayCheck, serveHealth } from '../../src/observe/health.ts';
import type { HealthOptions } from '../../src/observe/health.ts';
import { Metrics } from '../../src/observe/metrics.ts';

let abort: AbortController;
beforeEach(() => void (abort = new AbortController()));
afterEach(() => abort.abort());

async function start(options: Partial<HealthOptions> = {}) {
  const { port } = await serveHealth({ port: 0, host: '127.0.0.1', signal: abort.signal, ...options });
  return async (path: string, method = 'GET') => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return { status: answer.status, type: answer.headers.get('content-type'), text: await answer.text() };
  };
}

describe('the health server', () => {
  it('answers liveness and readiness by their own checks, each with its fault', async () => {
    let fault: string | undefined = 'not synced yet';
    const get = await start({ live: { loop: () => undefined }, ready: { store: () => fault, lease: () => undefined } });
    expect(await get('/livez')).toMatchObject({ status: 200, text: '[+] loop\nok\n' });
    expect(await get('/readyz')).toMatchObject({ status: 503, text: '[-] store: not synced yet\n[+] lease\nnot ok\n' });
    fault = undefined;
    expect(await get('/readyz?verbose')).toMatchObject({ status: 200 });
  });

  it('takes a check that throws as failed', async () => {
    const get = await start({
      ready: {
        broken: () => {
          throw new Error('oops');
        },
      },
    });
    expect(await get('/readyz')).toMatchObject({ status: 503, text: '[-] broken: oops\nnot ok\n' });
  });

  it('shows the metrics', async () => {
    const metrics = new Metrics();
    const evicted = metrics.counter({ name: 'evicted_entries_total', help: 'Entries evicted.', labels: ['cache'] });
    evicted.inc({ cache: 'rootfs' }, 4);
    metrics.gauge({ name: 'queue_depth', help: 'Keys that wait.' }, (gauge) => gauge.set(7));
    metrics.histogram({ name: 'run_duration_seconds', help: 'Time of a run.' }, [1, 10]).observe(3);
    const get = await start({ metrics });
    const { status, type, text } = await get('/metrics');
    expect([status, type]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
    expect(text).toContain('# HELP cachepolicy_evicted_entries_total Entries evicted.\n');
    expect(text).toContain('cachepolicy_evicted_entries_total{cache="rootfs"} 4\n');
    expect(text).toContain('cachepolicy_queue_depth 7\n');
    expect(text).toContain('cachepolicy_run_duration_seconds_bucket{le="10"} 1\n');
    expect(() => metrics.counter({ name: 'evicted_entries_total', help: '' })).toThrow();
    metrics.addProcessMetrics();
    expect((await get('/metrics')).text).toContain('process_resident_memory_bytes');
  });

  it('knows nothing else, and changes nothing', async () => {
    const get = await start();
    expect((await get('/')).status).toBe(404);
    expect((await get('/metrics')).status).toBe(404);
    expect((await get('/livez', 'POST')).status).toBe(405);
    expect(await get('/livez', 'HEAD')).toMatchObject({ status: 200, text: '' });
  });

  it('cuts a request that never ends when it closes', async () => {
    const { port } = await serveHealth({ port: 0, host: '127.0.0.1', signal: abort.signal });
    const socket = connect(port, '127.0.0.1');
    await new Promise<void>((resolve) => socket.write('GET /livez HTTP/1.1\r\n', () => resolve()));
    await new Promise((resolve) => setTimeout(resolve, 50));
    abort.abort();
    const startMs = performance.now();
    await new Promise((resolve) => socket.on('close', resolve).on('error', () => undefined).resume());
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });

  it('closes with its signal, and refuses a port that is taken', async () => {
    const { port } = await serveHealth({ port: 0, host: '127.0.0.1', signal: abort.signal });
    await expect(serveHealth({ port, host: '127.0.0.1', signal: abort.signal })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    abort.abort();
    await expect(fetch(`http://127.0.0.1:${port}/livez`)).rejects.toThrow();
  });
});

describe('the check of the event loop', () => {
  it('fails where the loop was held up, and passes again once it turns', async () => {
    const check = loopDelayCheck(abort.signal, { limitMs: 50, windowMs: 100, tickMs: 10 });
    const turn = () => new Promise((resolve) => setTimeout(resolve, 300));
    await turn();
    expect(check()).toBeUndefined();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 900);
    // The tick that comes late ends the window.
    await new Promise((resolve) => setTimeout(resolve, 1));
    expect(check()).toMatch(/^the event loop turned \d+ ms late on average$/);
    await turn();
    expect(check()).toBeUndefined();
  });
});
