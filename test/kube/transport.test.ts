import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

import { afterEach, describe, expect, it } from 'vitest';

import { OperatorError } from '../../src/errors.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { Credentials } from '../../src/kube/connection.ts';
import { countRequests } from '../../src/kube/metrics.ts';
import { configMaps, nodeCaches } from '../../src/kube/resource.ts';
import { isAlreadyExists, isConflict, isNotFound, KubeStatusError } from '../../src/kube/status-error.ts';
import { Transport } from '../../src/kube/transport.ts';
import { Metrics } from '../../src/observe/metrics.ts';
import { issuedBy, selfSigned } from './certificate.ts';
import { collection, configMap, startServer } from './rig.ts';
import { breakOff, busy, hang, ScriptedServer, status } from './scripted-server.ts';
import type { ServerRig } from './rig.ts';
import type { Verb } from './scripted-server.ts';
import { SteppedClock } from './stepped-clock.ts';

const place = { namespace: 'default', name: 'a' };
const manager = { fieldManager: 'test' };

/** Lets time pass until the promise is settled. */
async function settled<T>({ clock }: { clock: SteppedClock }, promise: Promise<T>): Promise<{ value?: T; error?: unknown; tookMs: number }> {
  let result: { value?: T; error?: unknown } | undefined;
  promise.then((value) => (result = { value }), (error: unknown) => (result = { error }));
  const tookMs = await clock.passUntil(() => result !== undefined);
  return { ...result, tookMs };
}

/** Every way to write, and what a scripted server calls it. */
const writes: Record<string, { verb: Verb; repeatable: boolean; send: (rig: ServerRig) => Promise<unknown> }> = {
  apply: { verb: 'patch', repeatable: true, send: ({ client }) => client.apply(configMaps, configMap('a'), manager) },
  applyStatus: { verb: 'patch', repeatable: true, send: ({ client }) => client.applyStatus(configMaps, configMap('a'), manager) },
  replace: { verb: 'replace', repeatable: true, send: ({ client, server }) => client.replace(configMaps, server.get(`${collection}/a`) ?? configMap('a')) },
  delete: { verb: 'delete', repeatable: true, send: ({ client }) => client.delete(configMaps, place) },
  create: { verb: 'create', repeatable: false, send: ({ client }) => client.create(configMaps, configMap('new')) },
  patch: { verb: 'patch', repeatable: false, send: ({ client }) => client.patch(configMaps, place, { type: 'merge', body: { data: {} } }) },
};

describe.concurrent('a request', () => {
  it('comes back as the plain JSON of the server', async () => {
    await using rig = await startServer();
    rig.server.put(collection, Object.assign(configMap('a', { v: '1' }), { futureField: [1] }));
    expect(await rig.client.get(configMaps, place)).toMatchObject({ data: { v: '1' }, futureField: [1] });
    // The items of a list come without their kind.
    expect((await rig.client.list(configMaps, { namespace: 'default' })).items).toMatchObject([{ apiVersion: 'v1', kind: 'ConfigMap', futureField: [1] }]);
  });

  it('that is refused says what was asked, the status and the reason', async () => {
    await using rig = await startServer();
    rig.server.put(collection, configMap('a'));
    const missing = await rig.client.get(configMaps, { namespace: 'default', name: 'x' }).catch((error: unknown) => error);
    expect(missing).toMatchObject({ code: 'ERR_KUBE_STATUS', status: 404, reason: 'NotFound' });
    expect((missing as Error).message).toBe('404 NotFound: scripted NotFound (GET /api/v1/namespaces/default/configmaps/x)');
    expect(isNotFound(missing)).toBe(true);
    expect(await rig.client.create(configMaps, configMap('a')).catch(isAlreadyExists)).toBe(true);
    const stale = configMap('a');
    stale.metadata.resourceVersion = '1';
    expect(await rig.client.replace(configMaps, stale).catch(isConflict)).toBe(true);
    expect(await rig.client.delete(configMaps, place, { preconditions: { uid: 'other' } }).catch(isConflict)).toBe(true);
  });

  it('says what it is about in its path, query and body', async () => {
    await using rig = await startServer();
    rig.server.put(collection, configMap('a'));
    const { client } = rig;
    await client.deleteCollection(configMaps, { namespace: 'default', labelSelector: 'app in (x, y)', propagationPolicy: 'Background' }).catch(() => undefined);
    await client.applyStatus(configMaps, configMap('a'), { fieldManager: 'me', force: false });
    await client.patch(configMaps, place, { type: 'json', body: [] });
    await client.delete(configMaps, place, { preconditions: { uid: 'uid-101', resourceVersion: '7' } });
    await client.list(configMaps, { fieldSelector: 'metadata.name=a' });
    await client.get(nodeCaches, { name: 'a/b?c', namespace: 'ignored' }).catch(() => undefined);
    expect(rig.server.seen.map(({ path, query, headers, body }) => [path, query.toString(), headers['content-type'], body])).toMatchObject([
      [collection, 'labelSelector=app+in+%28x%2C+y%29', 'application/json', { kind: 'DeleteOptions', propagationPolicy: 'Background' }],
      [`${collection}/a/status`, 'fieldManager=me&force=false', 'application/apply-patch+yaml', { metadata: { name: 'a' } }],
      [`${collection}/a`, '', 'application/json-patch+json', []],
      [`${collection}/a`, '', 'application/json', { kind: 'DeleteOptions', preconditions: { uid: 'uid-101', resourceVersion: '7' } }],
      ['/api/v1/configmaps', 'fieldSelector=metadata.name%3Da', undefined, {}],
      ['/apis/cache.a3s.dev/v1alpha1/nodecaches/a%2Fb%3Fc', '', undefined, {}],
    ]);
  });

  it('says first what is wrong, and only then of which request', () => {
    expect(new KubeStatusError('PATCH /apis/x', 403, { reason: 'Forbidden', message: 'exceeded quota' })).toMatchObject({ message: '403 Forbidden: exceeded quota (PATCH /apis/x)', words: '403 Forbidden: exceeded quota' });
  });

  it('that is refused by something in between keeps the first words of it', async () => {
    await using rig = await startServer();
    rig.server.cue('get', (response) => response.writeHead(400).end('<html>a proxy'));
    await expect(rig.client.get(configMaps, place)).rejects.toThrow(/^400: <html>a proxy/);
    rig.server.cue('get', (response) => response.writeHead(200).end('<html>a login page'));
    await expect(rig.client.get(configMaps, place, { maxAttempts: 1 })).rejects.toThrow('not from an API server');
  });

  it('is sent over connections that are used again, a bounded number at once', async () => {
    await using rig = await startServer();
    rig.server.put(collection, configMap('a'));
    for (let i = 0; i < 20; i++) await rig.client.get(configMaps, place);
    expect(rig.server.connections).toBe(1);
    await Promise.all(Array.from({ length: 40 }, () => rig.client.get(configMaps, place)));
    expect(rig.server.connections).toBe(8);
  });

  it('goes below the path of the server', async () => {
    await using rig = await startServer();
    const server = new URL('/clusters/one/', rig.server.url);
    const transport = new Transport({ server, namespace: 'default', credentials: async () => ({}) }, { clock: rig.clock });
    await new KubeClient(transport).list(configMaps, { namespace: 'default' }).catch(() => undefined);
    expect(rig.server.seen[0]?.path).toBe('/clusters/one/api/v1/namespaces/default/configmaps');
    transport.close();
  });
});

describe.concurrent('a request that fails', () => {
  it.each([429, 503] as const)('with %i is sent again after the time that the server asks for', async (code) => {
    await using rig = await startServer();
    rig.server.put(collection, configMap('a'));
    rig.server.cue('get', busy(code, 5), 3);
    const { value, tookMs } = await settled(rig, rig.client.get(configMaps, place));
    expect(value).toBeDefined();
    expect(tookMs).toBeGreaterThanOrEqual(15_000);
    expect(tookMs).toBeLessThan(25_000);
  });

  it('is spread as widely as the caller wants where it was refused as one too many, and only there', async () => {
    await using rig = await startServer();
    rig.server.put(collection, configMap('a'));
    const tookMs = async (code: 429 | 503) => {
      rig.server.cue('get', busy(code, 1));
      return (await settled(rig, rig.client.get(configMaps, place, { refusedSpreadMs: 20_000 }))).tookMs;
    };
    expect(await tookMs(429)).toBe(11_000);
    expect(await tookMs(503)).toBeLessThan(2_000);
  });

  it.each(Object.entries(writes))('is sent again as %s where that can do no harm', async (_name, { verb, repeatable, send }) => {
    await using rig = await startServer();
    rig.server.put(collection, configMap('a'));
    const tries = async (act: Parameters<ScriptedServer['cue']>[1]) => {
      const before = rig.server.count(verb);
      rig.server.cue(verb, act);
      const result = await settled(rig, send(rig));
      return { sent: rig.server.count(verb) - before, ok: result.error === undefined, rested: result.tookMs >= 5_000 };
    };
    expect(await tries(breakOff)).toEqual({ ...(repeatable ? { sent: 2, ok: true } : { sent: 1, ok: false }), rested: false });
    rig.server.put(collection, configMap('a'));
    expect(await tries(busy(503, 5))).toEqual(repeatable ? { sent: 2, ok: true, rested: true } : { sent: 1, ok: false, rested: false });
    rig.server.put(collection, configMap('a'));
    expect(await tries(busy(429, 5))).toEqual({ sent: 2, ok: true, rested: true });
    rig.server.put(collection, configMap('a'));
    expect(await tries(status(500, 'InternalError'))).toEqual({ sent: 1, ok: false, rested: false });
  });

  it('is left to the caller where the server wants a long rest', async () => {
    await using rig = await startServer();
    rig.server.cue('get', busy(429, 31));
    const { error, tookMs } = await settled(rig, rig.client.get(configMaps, place));
    expect(error).toMatchObject({ status: 429, retryAfterMs: 31_000 });
    expect(tookMs).toBe(0);
  });

  it('reads the rest that is asked for in the Status, too', async () => {
    const error = new KubeStatusError('GET /x', 504, { reason: 'Timeout', details: { retryAfterSeconds: 2 } });
    expect(error.retryAfterMs).toBe(2_000);
    expect(new KubeStatusError('GET /x', 504, { details: { retryAfterSeconds: 0 } }).retryAfterMs).toBeUndefined();
  });

  it('ends after four tries, each of which is counted', async () => {
    await using rig = await startServer();
    const metrics = new Metrics();
    const transport = new Transport(rig.server.connection(), { clock: rig.clock, ...countRequests(metrics) });
    rig.server.cue('get', busy(503, 1));
    rig.server.cue('get', breakOff, 10);
    const { error } = await settled(rig, new KubeClient(transport).get(configMaps, place));
    expect(error).toMatchObject({ code: 'ERR_KUBE_UNREACHABLE' });
    expect(rig.server.count('get')).toBe(4);
    const { text } = await metrics.render();
    expect(text).toContain('cachepolicy_api_requests_total{verb="GET",resource="configmaps",code="503"} 1\n');
    expect(text).toContain('cachepolicy_api_requests_total{verb="GET",resource="configmaps",code="0"} 3\n');
    transport.close();
  });

  it.each([
    ['nothing is answered', hang],
    ['the answer stops in the middle', (response: Parameters<typeof hang>[0]) => void response.writeHead(200).write('{"metadata":')],
  ] as const)('ends at its deadline where %s', async (_what, act) => {
    await using rig = await startServer();
    rig.server.cue('get', act);
    const { error, tookMs } = await settled(rig, rig.client.get(configMaps, place, { maxAttempts: 1 }));
    expect(error).toMatchObject({ code: 'ERR_KUBE_UNREACHABLE', message: 'no answer within 30 s (GET /api/v1/namespaces/default/configmaps/a)' });
    expect(tookMs).toBeGreaterThanOrEqual(30_000);
    expect(tookMs).toBeLessThan(33_000);
    expect(rig.clock.pendingTimers).toBe(0);
  });

  it('ends after 10 s where the connection does not come about', async () => {
    const clock = new SteppedClock();
    const mute = createServer();
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const server = new URL(`https://127.0.0.1:${(mute.address() as AddressInfo).port}`);
    const transport = new Transport({ server, namespace: 'default', credentials: async () => ({}) }, { clock });
    const { error, tookMs } = await settled({ clock }, new KubeClient(transport).get(configMaps, place, { maxAttempts: 1 }));
    expect(error).toMatchObject({ code: 'ERR_KUBE_UNREACHABLE', message: expect.stringContaining('no connection within 10 s') });
    expect(tookMs).toBeLessThan(12_000);
    expect(clock.pendingTimers).toBe(0);
    transport.close();
    mute.close();
  });

  it('is unreachable where nobody listens', async () => {
    const rig = await startServer();
    await rig.server[Symbol.asyncDispose]();
    const error = await rig.client.get(configMaps, place, { maxAttempts: 1 }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OperatorError);
    expect(error).toMatchObject({ code: 'ERR_KUBE_UNREACHABLE', cause: { code: 'ECONNREFUSED' } });
  });
});

describe('a request that is aborted', () => {
  it('ends at once with the reason, and is not sent again', async () => {
    await using rig = await startServer();
    rig.server.cue('get', hang);
    const abort = new AbortController();
    const getting = rig.client.get(configMaps, place, { signal: abort.signal });
    await rig.clock.passUntil(() => rig.server.count('get') === 1);
    abort.abort(new Error('stop'));
    await expect(getting).rejects.toThrow('stop');
    await rig.clock.pass(60_000);
    expect(rig.server.count('get')).toBe(1);
  });

  it('ends in the middle of a backoff', async () => {
    await using rig = await startServer();
    rig.server.cue('get', busy(503, 20), 5);
    const abort = new AbortController();
    const getting = rig.client.get(configMaps, place, { signal: abort.signal });
    await rig.clock.passUntil(() => rig.server.count('get') === 1 && rig.clock.pendingTimers === 1);
    abort.abort(new Error('stop'));
    await expect(getting).rejects.toThrow('stop');
    expect(rig.clock.pendingTimers).toBe(0);
  });
});

describe('credentials', () => {
  const servers: AsyncDisposable[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server[Symbol.asyncDispose]();
  });

  /** A client whose credentials the test changes, and that counts how often they were read. */
  async function start(tls?: { cert: string; key: string; ca?: string }) {
    const clock = new SteppedClock();
    const server = await ScriptedServer.start({ clock, bookmarkMs: 0, ...(tls !== undefined && { tls }) });
    servers.push(server);
    server.put(collection, configMap('a'));
    const files: { now: Credentials; reads: number } = { now: {}, reads: 0 };
    const transport = new Transport(server.connection(() => (files.reads++, files.now)), { clock });
    return { clock, server, files, client: new KubeClient(transport), transport };
  }

  it('are read again every minute', async () => {
    const { clock, files, client, server } = await start();
    files.now = { authorization: 'Bearer one' };
    await client.get(configMaps, place);
    files.now = { authorization: 'Bearer two' };
    await clock.pass(59_000);
    await client.get(configMaps, place);
    await clock.pass(2_000);
    await client.get(configMaps, place);
    expect(server.seen.map(({ headers }) => headers.authorization)).toEqual(['Bearer one', 'Bearer one', 'Bearer two']);
    expect(files.reads).toBe(2);
  });

  it('are read again at once after a 401, also for what is never repeated otherwise', async () => {
    const { files, client, server } = await start();
    files.now = { authorization: 'Bearer one' };
    server.token = 'one';
    await client.get(configMaps, place);
    server.token = 'two';
    files.now = { authorization: 'Bearer two' };
    await client.create(configMaps, configMap('b'));
    server.token = 'three';
    files.now = { authorization: 'Bearer three' };
    await (await client.watch(configMaps, { namespace: 'default', resourceVersion: '1', timeoutSeconds: 300 })).return(undefined);
    expect(server.count('create')).toBe(2);
    expect(server.count('watch')).toBe(2);
  });

  it('that are refused twice are the error', async () => {
    const { client, server } = await start();
    server.token = 'right';
    await expect(client.get(configMaps, place)).rejects.toMatchObject({ status: 401 });
    expect(server.count('get')).toBe(2);
    await expect(client.get(configMaps, place)).rejects.toMatchObject({ status: 401 });
    server.token = undefined;
    await client.get(configMaps, place);
  });

  it('name the authority that the server must be certified by, and follow its rotation', async () => {
    const [one, two] = [selfSigned('one'), selfSigned('two')];
    const { clock, files, client, server } = await start(one);
    files.now = { ca: two.cert };
    const refused = await settled({ clock }, client.get(configMaps, place));
    expect(refused.error).toMatchObject({ code: 'ERR_KUBE_UNREACHABLE', cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' } });
    files.now = { ca: one.cert };
    await client.get(configMaps, place);
    const { connections } = server;

    server.useCertificate(two);
    server.breakConnections();
    files.now = { ca: two.cert };
    expect((await settled({ clock }, client.get(configMaps, place))).value).toBeDefined();
    expect(server.connections).toBeGreaterThan(connections);
  });

  it('may change while a watch is open, without harm to it', async () => {
    const [one, two] = [selfSigned('one'), selfSigned('two')];
    const { clock, files, client, server } = await start(one);
    files.now = { ca: one.cert };
    const events = await client.watch(configMaps, { namespace: 'default', resourceVersion: '101', timeoutSeconds: 300 });
    files.now = { ca: one.cert + two.cert };
    await clock.pass(61_000);
    await client.get(configMaps, place);
    server.put(collection, configMap('b'));
    const next = await events.next();
    expect(next.value).toMatchObject({ type: 'ADDED', object: { metadata: { name: 'b' } } });
    await events.return(undefined);
  });

  it('may be a client certificate', async () => {
    const authority = selfSigned('authority');
    const { clock, files, client } = await start({ ...authority, ca: authority.cert });
    files.now = { ca: authority.cert };
    expect((await settled({ clock }, client.get(configMaps, place))).error).toMatchObject({ code: 'ERR_KUBE_UNREACHABLE' });
    const { cert, key } = issuedBy(authority, 'admin');
    files.now = { ca: authority.cert, cert, key };
    expect(await client.get(configMaps, place)).toBeDefined();
  });
});

describe('a fenced client', () => {
  it('passes the fence before every try of a write, and before no read', async () => {
    await using rig = await startServer();
    rig.server.put(collection, configMap('a'));
    let checks = 0;
    const client = rig.client.fencedBy({
      check() {
        checks += 1;
        if (checks > 2) throw new OperatorError('ERR_LEASE_LOST', 'another leads');
      },
    });
    await client.get(configMaps, place);
    await client.list(configMaps, { namespace: 'default' });
    expect(checks).toBe(0);
    rig.server.cue('patch', busy(429, 1), 5);
    const { error } = await settled(rig, client.apply(configMaps, configMap('a'), manager));
    expect(error).toMatchObject({ code: 'ERR_LEASE_LOST' });
    expect(rig.server.count('patch')).toBe(2);
  });

  it('gives a write up before another leader may write', async () => {
    await using rig = await startServer();
    rig.server.cue('create', hang);
    const { error, tookMs } = await settled(rig, rig.client.fencedBy({ check: () => undefined }).create(configMaps, configMap('a')));
    expect(error).toMatchObject({ code: 'ERR_KUBE_UNREACHABLE' });
    expect(tookMs).toBeLessThan(6_000);
  });
});

describe('a watch', () => {
  it('puts events together again that come in pieces', async () => {
    await using rig = await startServer();
    const line = Buffer.from(`${JSON.stringify({ type: 'ADDED', object: configMap('a', { v: 'ключ 🔑' }) })}\n`);
    rig.server.cue('watch', (response) => {
      response.writeHead(200);
      const pieces = [...line, ...line].map((byte) => Buffer.from([byte]));
      const next = () => {
        const piece = pieces.shift();
        if (piece === undefined) return void response.end();
        response.write(piece, () => setImmediate(next));
      };
      next();
    });
    const events = [];
    for await (const event of await rig.client.watch(configMaps, { resourceVersion: '1', timeoutSeconds: 300 })) events.push(event);
    expect(events).toHaveLength(2);
    expect(events[1]).toMatchObject({ type: 'ADDED', object: { data: { v: 'ключ 🔑' } } });
  });

  it('that is disposed of is cut', async () => {
    await using rig = await startServer({ bookmarkMs: 0 });
    const path = `${collection}?watch=true`;
    (await rig.transport.open({ method: 'GET', path, repeatable: true }))[Symbol.dispose]();
    await rig.clock.passUntil(() => rig.server.count('watch') === 1 && rig.server.openWatches === 0, 1_000);
  });

  it('that is left is cut', async () => {
    await using rig = await startServer({ bookmarkMs: 0 });
    rig.server.put(collection, configMap('a'));
    for await (const event of await rig.client.watch(configMaps, { namespace: 'default', resourceVersion: '1', timeoutSeconds: 300 })) {
      expect(event.type).toBe('ADDED');
      break;
    }
    await rig.clock.passUntil(() => rig.server.openWatches === 0);
    expect(rig.clock.pendingTimers).toBe(0);
  });
});
