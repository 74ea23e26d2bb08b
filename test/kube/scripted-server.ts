/** A small API server on 127.0.0.1 that is honest (lists by pages, watches from a version, conflicts) until it is told to misbehave. */
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

import type { Connection, Credentials } from '../../src/kube/connection.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import type { SteppedClock } from './stepped-clock.ts';

/** `ask` is a list of at most one object, which asks for the present version. */
export type Verb = 'get' | 'list' | 'ask' | 'watch' | 'create' | 'replace' | 'patch' | 'delete';

/** A request as it came in. */
export interface Seen {
  readonly verb: Verb;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Record<string, unknown>;
  /** On the stepped clock. */
  readonly atMs: number;
}

/** How one request is answered in place of the honest answer, which `proceed` gives. */
export type Act = (response: http.ServerResponse, seen: Seen, proceed: () => void) => void;

/** Answers with a Status. */
export function status(code: number, reason: string, headers: Record<string, string> = {}): Act {
  return (response) => send(response, code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message: `scripted ${reason}` }, headers);
}

export function busy(code: 429 | 503, retryAfterSeconds: number): Act {
  return status(code, code === 429 ? 'TooManyRequests' : 'ServiceUnavailable', { 'retry-after': String(retryAfterSeconds) });
}

/** Never answers. */
export const hang: Act = () => undefined;

/** Breaks the connection before the answer. */
export const breakOff: Act = (response) => void response.socket?.destroy();

/** Takes a watch, then ends it at once. */
export const endAtOnce: Act = (response) => void response.writeHead(200, { 'content-type': 'application/json' }).end();

/** Takes a watch and never says a word, not even when its time is over. */
export const staySilent: Act = (response) => response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();

/** Takes a watch and says that the version is gone. */
export const expiredInStream: Act = (response) => {
  const object = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' };
  response.writeHead(200, { 'content-type': 'application/json' }).end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
};

interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
  readonly collection: string;
}

interface Snapshot {
  readonly version: number;
  readonly objects: ReadonlyMap<string, KubeObject>;
}

interface Watcher {
  /** It is told of what comes after this version. */
  readonly from: number;
  readonly response: http.ServerResponse;
  readonly collection: string;
  readonly name: string | undefined;
}

export interface ScriptedServerOptions {
  readonly clock: SteppedClock;
  /** Serves https with these. */
  readonly tls?: { cert: string; key: string; ca?: string };
  /** Of the stepped clock. Default 60 s, as Kubernetes; 0: none. */
  readonly bookmarkMs?: number;
}

export class ScriptedServer implements AsyncDisposable {
  readonly seen: Seen[] = [];
  /** Where set, every other one is answered with 401. */
  token: string | undefined;
  /** User agents whose requests arrive no more. */
  readonly unheard = new Set<string>();
  readonly #clock: SteppedClock;
  readonly #server: http.Server;
  readonly #bookmarkMs: number;
  readonly #objects = new Map<string, KubeObject>();
  readonly #history: Change[] = [];
  readonly #watchers = new Set<Watcher>();
  readonly #cues: { verb: Verb; act: Act; times: number }[] = [];
  readonly #sockets = new Set<Socket>();
  #version = 100;
  /** How many connections were made. */
  connections = 0;

  static async start(options: ScriptedServerOptions): Promise<ScriptedServer> {
    const server = new ScriptedServer(options);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  private constructor({ clock, tls, bookmarkMs = 60_000 }: ScriptedServerOptions) {
    this.#clock = clock;
    this.#bookmarkMs = bookmarkMs;
    const answer: http.RequestListener = (request, response) => void this.#answer(request, response);
    this.#server = tls === undefined ? http.createServer(answer) : https.createServer({ ...tls, requestCert: tls.ca !== undefined }, answer);
    this.#server.keepAliveTimeout = 0;
    this.#server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
    });
  }

  get url(): URL {
    return new URL(`${this.#server instanceof https.Server ? 'https' : 'http'}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
  }

  connection(credentials: () => Credentials = () => ({})): Connection {
    return { server: this.url, namespace: 'default', credentials: async () => credentials() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The next requests of this verb are answered so; cues of one verb are used up in order. */
  cue(verb: Verb, act: Act, times = 1): void {
    this.#cues.push({ verb, act, times });
  }

  /** From now on requests are answered honestly again. */
  behave(): void {
    this.#cues.length = 0;
  }

  count(verb: Verb): number {
    return this.seen.filter((seen) => seen.verb === verb).length;
  }

  timesOf(verb: Verb): number[] {
    return this.seen.filter((seen) => seen.verb === verb).map(({ atMs }) => atMs);
  }

  get openWatches(): number {
    return this.#watchers.size;
  }

  get(path: string): KubeObject | undefined {
    return this.#objects.get(path);
  }

  /** Creates or changes the object at `<collection>/<name>`, and tells the watches. */
  put<T extends KubeObject>(collection: string, object: T): T {
    const path = `${collection}/${object.metadata.name}`;
    const old = this.#objects.get(path);
    const resourceVersion = String(++this.#version);
    const uid = object.metadata.uid ?? old?.metadata.uid ?? `uid-${resourceVersion}`;
    const stored = { ...object, metadata: { ...object.metadata, uid, resourceVersion } };
    this.#objects.set(path, stored);
    this.#tell({ type: old === undefined ? 'ADDED' : 'MODIFIED', object: stored, collection });
    return stored;
  }

  remove(collection: string, name: string): void {
    const object = this.#objects.get(`${collection}/${name}`);
    if (object === undefined) return;
    this.#objects.delete(`${collection}/${name}`);
    this.#tell({ type: 'DELETED', object: { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } }, collection });
  }

  /** Does it without a word to any watch, as if the event were lost. */
  quietly(change: () => void): void {
    const watchers = [...this.#watchers];
    this.#watchers.clear();
    change();
    this.#history.pop();
    for (const watcher of watchers) this.#watchers.add(watcher);
  }

  /** What `restore` brings back. */
  snapshot(): Snapshot {
    return { version: this.#version, objects: new Map(this.#objects) };
  }

  /** As an etcd that is restored: objects and versions are those of then. Watches that are open, or are opened from a version yet to come, hear of nothing before that. */
  restore({ version, objects }: Snapshot): void {
    this.#version = version;
    this.#objects.clear();
    for (const [path, object] of objects) this.#objects.set(path, object);
    this.#history.length = 0;
  }

  /** The version of the last write. */
  reach(version: number): void {
    this.#version = version;
  }

  /** Says something on every open watch, whatever it is. */
  say(event: unknown): void {
    for (const { response } of this.#watchers) response.write(`${JSON.stringify(event)}\n`);
  }

  /** Open watches are told nothing any more, and keep their connections. */
  fallSilent(): void {
    this.#watchers.clear();
  }

  endWatches(): void {
    for (const watcher of this.#watchers) this.#end(watcher);
  }

  breakConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  useCertificate(tls: { cert: string; key: string }): void {
    (this.#server as https.Server).setSecureContext(tls);
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    response.on('error', () => undefined);
    const url = new URL(request.url ?? '/', 'http://server');
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    const { headers, method = 'GET' } = request;
    if (this.unheard.has(headers['user-agent'] ?? '')) return;
    const seen: Seen = { verb: verbOf(method, url), path: url.pathname, query: url.searchParams, headers, body: text === '' ? {} : JSON.parse(text), atMs: this.#clock.monotonicMs() };
    this.seen.push(seen);
    if (this.token !== undefined && headers.authorization !== `Bearer ${this.token}`) return status(401, 'Unauthorized')(response, seen, () => undefined);
    const cue = this.#cues.find(({ verb }) => verb === seen.verb);
    if (cue !== undefined && --cue.times <= 0) this.#cues.splice(this.#cues.indexOf(cue), 1);
    const proceed = () => this.#proceed(seen, response);
    if (cue === undefined) proceed();
    else cue.act(response, seen, proceed);
  }

  #proceed(seen: Seen, response: http.ServerResponse): void {
    if (seen.verb === 'watch') return this.#watch(seen, response);
    if (seen.verb === 'list' || seen.verb === 'ask') return this.#list(seen, response);
    const { code, object } = this.#change(seen);
    if (object === undefined) return status(code, code === 404 ? 'NotFound' : code === 409 && seen.verb === 'create' ? 'AlreadyExists' : 'Conflict')(response, seen, () => undefined);
    send(response, code, object);
  }

  #change({ verb, path, body, headers }: Seen): { code: number; object?: unknown } {
    const [target = '', subresource] = path.split(/\/(?=status$)/);
    const object = body as unknown as KubeObject;
    if (verb === 'create') return this.#objects.has(`${path}/${object.metadata.name}`) ? { code: 409 } : { code: 201, object: this.put(path, object) };
    const present = this.#objects.get(target);
    const collection = target.slice(0, target.lastIndexOf('/'));
    const mayCreate = headers['content-type'] === 'application/apply-patch+yaml' && subresource === undefined;
    if (verb === 'patch' && present !== undefined && ![undefined, present.metadata.uid].includes(object.metadata?.uid)) return { code: 409 };
    if (verb === 'patch' && (present !== undefined || mayCreate)) {
      const metadata = { ...present?.metadata, ...object.metadata, name: target.slice(collection.length + 1) };
      return { code: present === undefined ? 201 : 200, object: this.put(collection, { ...present, ...object, metadata }) };
    }
    if (present === undefined) return { code: 404 };
    if (verb === 'get') return { code: 200, object: present };
    if (verb === 'replace') return object.metadata.resourceVersion === present.metadata.resourceVersion ? { code: 200, object: this.put(collection, object) } : { code: 409 };
    const uid = (body['preconditions'] as { uid?: string } | undefined)?.uid;
    if (uid !== undefined && uid !== present.metadata.uid) return { code: 409 };
    this.remove(collection, present.metadata.name);
    return { code: 200, object: { kind: 'Status', status: 'Success' } };
  }

  #list({ path, query }: Seen, response: http.ServerResponse): void {
    const name = nameIn(query);
    const all = [...this.#objects].filter(([key, { metadata }]) => key === `${path}/${metadata.name}` && (name === undefined || metadata.name === name)).map(([, object]) => object);
    const start = Number(query.get('continue') ?? 0);
    const end = query.has('limit') ? start + Number(query.get('limit')) : all.length;
    const items = all.slice(start, end).map(({ metadata, ...rest }) => ({ ...rest, apiVersion: undefined, kind: undefined, metadata: { ...metadata, managedFields: [{ manager: 'scripted' }] } }));
    const next = end < all.length ? { continue: String(end) } : {};
    send(response, 200, { kind: 'List', metadata: { resourceVersion: String(this.#version), ...next }, items });
  }

  #watch({ path, query }: Seen, response: http.ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    const from = Number(query.get('resourceVersion'));
    const watcher: Watcher = { from, response, collection: path, name: nameIn(query) };
    this.#watchers.add(watcher);
    const cancels = [this.#clock.setTimer(Number(query.get('timeoutSeconds') ?? 1800) * 1000, () => this.#end(watcher))];
    const bookmark = () => {
      if (this.#watchers.has(watcher) && this.#version >= from) response.write(`${JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(this.#version) } } })}\n`);
      cancels[1] = this.#clock.setTimer(this.#bookmarkMs, bookmark);
    };
    if (this.#bookmarkMs > 0) cancels[1] = this.#clock.setTimer(this.#bookmarkMs, bookmark);
    response.on('close', () => {
      for (const cancel of cancels) cancel();
      this.#watchers.delete(watcher);
    });
    for (const change of this.#history) this.#write(watcher, change);
  }

  #tell(change: Change): void {
    this.#history.push(change);
    for (const watcher of this.#watchers) this.#write(watcher, change);
  }

  #write({ from, response, collection, name }: Watcher, { type, object, collection: changed }: Change): void {
    if (Number(object.metadata.resourceVersion) <= from) return;
    if (collection !== changed || (name !== undefined && name !== object.metadata.name)) return;
    response.write(`${JSON.stringify({ type, object })}\n`);
  }

  #end(watcher: Watcher): void {
    // Who fell silent does not end either.
    if (this.#watchers.delete(watcher)) watcher.response.end();
  }
}

function verbOf(method: string, { pathname, searchParams }: URL): Verb {
  const place = pathname.replace(/^\/(api\/v1|apis\/[^/]+\/[^/]+)/, '').replace(/^\/namespaces\/[^/]+(?=\/)/, '');
  if (method === 'GET') return searchParams.has('watch') ? 'watch' : place.split('/').length > 2 ? 'get' : searchParams.get('limit') === '1' ? 'ask' : 'list';
  return { POST: 'create', PUT: 'replace', PATCH: 'patch' }[method] as Verb | undefined ?? 'delete';
}

function nameIn(query: URLSearchParams): string | undefined {
  return /^metadata\.name=(.*)$/.exec(query.get('fieldSelector') ?? '')?.[1];
}

function send(response: http.ServerResponse, code: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}
