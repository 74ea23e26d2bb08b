/**
 * Stands between one controller and the real API server and misbehaves on cue. The controller reaches it by plain HTTP and shows its own token;
 * what is not held up goes to the API server as it came.
 */
import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';

/** `die`: the controller is cut off for good, before the API server sees the write or after it has answered. `lose`: only the answer is lost. */
export type Fate = 'pass' | 'die before' | 'die after' | 'lose the answer';

export interface Write {
  /** `PATCH cachepolicies/faults-a/status` */
  readonly what: string;
  /** The same for every try of the same write, also by the next controller. */
  readonly signature: string;
  readonly body: string;
}

export interface Faults {
  /** Leases, Events and dry runs are no matter of this: they always pass. */
  readonly onWrite?: (write: Write) => Fate;
  /** Of a watch event such as `DELETED cachepolicies/faults-a`; false: the controller never hears of it, until it lists again. */
  readonly onEvent?: (what: string) => boolean;
  /** Lists as another controller saw them earlier. Until `thaw` the watches are silent, too. */
  readonly olderLists?: ReadonlyMap<string, string>;
}

export interface FaultProxyOptions extends Faults {
  readonly server: string;
  readonly caFile: string;
}

export class FaultProxy {
  /** What reached the API server. */
  readonly writes: string[] = [];
  /** Every list that was answered, by its path. */
  readonly lists = new Map<string, string>();
  /** Resolves when the controller was cut off by a fate. */
  readonly died: Promise<void>;
  readonly #options: FaultProxyOptions;
  readonly #agent: https.Agent;
  readonly #server = http.createServer((request, response) => void this.#answer(request, response).catch(() => response.destroy()));
  readonly #die = Promise.withResolvers<void>();
  readonly #streams = new Set<() => void>();
  readonly #expired = new Set<string>();
  #frozen: boolean;

  private constructor(options: FaultProxyOptions) {
    this.#options = options;
    this.#agent = new https.Agent({ ca: readFileSync(options.caFile), keepAlive: true });
    this.#frozen = options.olderLists !== undefined;
    this.died = this.#die.promise;
  }

  static async start(options: FaultProxyOptions): Promise<FaultProxy> {
    const proxy = new FaultProxy(options);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
  }

  /** From now on nothing passes in either direction. */
  cut(): void {
    this.#server.close();
    this.#server.closeAllConnections();
    for (const end of this.#streams) end();
    this.#agent.destroy();
  }

  /** Ends every watch; what would continue it is too old, so that the controller has to list. */
  relist(): void {
    for (const end of this.#streams) end();
  }

  /** The older view is over: the watches continue where it stood. */
  thaw(): void {
    this.#frozen = false;
    for (const end of this.#streams) end();
    this.#expired.clear();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await textOf(request);
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://api');
    const what = nameOf(pathname);
    if (searchParams.has('watch')) return this.#watch(request, response, what);
    if (request.method === 'GET') return this.#read(request, response);
    if (/^(leases|events)\b/.test(what) || searchParams.has('dryRun')) return reply(response, await this.#forward(request, body));
    return this.#write(request, response, { what: `${request.method} ${what}`, signature: `${request.method} ${what} ${timeless(body)}`, body });
  }

  async #write(request: IncomingMessage, response: ServerResponse, write: Write): Promise<void> {
    const fate = this.#options.onWrite?.(write) ?? 'pass';
    if (fate === 'die before') return this.#end();
    const answer = await this.#forward(request, write.body);
    this.writes.push(`${write.what} ${answer.status}`);
    if (fate === 'die after') return this.#end();
    if (fate === 'lose the answer') return void response.destroy();
    reply(response, answer);
  }

  async #read(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    const older = this.#frozen ? this.#options.olderLists?.get(path) : undefined;
    const answer = older === undefined ? await this.#forward(request, '') : { status: 200, text: older };
    if (answer.text.includes('List"')) this.lists.set(path, answer.text);
    reply(response, answer);
  }

  async #watch(request: IncomingMessage, response: ServerResponse, what: string): Promise<void> {
    if (this.#expired.delete(what)) return reply(response, { status: 410, text: JSON.stringify({ kind: 'Status', code: 410, reason: 'Expired' }) });
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    const ended = new AbortController();
    const end = () => {
      this.#expired.add(what);
      ended.abort();
      response.destroy();
    };
    this.#streams.add(end);
    response.once('close', () => (ended.abort(), this.#streams.delete(end)));
    if (this.#frozen) return;
    const stream = await this.#send(request, '', ended.signal);
    if (stream.statusCode !== 200) return void response.destroy();
    for await (const line of createInterface({ input: stream })) if (this.#passes(line, what)) response.write(`${line}\n`);
    response.end();
  }

  #passes(line: string, what: string): boolean {
    const { type, object } = JSON.parse(line) as { type: string; object: { metadata?: { name?: string } } };
    return type === 'BOOKMARK' || this.#options.onEvent === undefined || this.#options.onEvent(`${type} ${what}/${object.metadata?.name}`);
  }

  #end(): void {
    this.cut();
    this.#die.resolve();
  }

  async #forward(request: IncomingMessage, body: string): Promise<Answer> {
    const answer = await this.#send(request, body);
    return { status: answer.statusCode ?? 0, text: await textOf(answer) };
  }

  #send({ method, url, headers }: IncomingMessage, body: string, signal?: AbortSignal): Promise<IncomingMessage> {
    const { authorization, 'content-type': type } = headers;
    const kept = { authorization, accept: 'application/json', ...(type !== undefined && { 'content-type': type, 'content-length': Buffer.byteLength(body) }) };
    return new Promise((resolve, reject) => {
      const options = { method, headers: kept, agent: this.#agent, ...(signal && { signal }) } as https.RequestOptions;
      https.request(`${this.#options.server}${url}`, options, resolve).once('error', reject).end(body);
    });
  }
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

function reply(response: ServerResponse, { status, text }: Answer): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(text);
}

async function textOf(message: IncomingMessage): Promise<string> {
  message.setEncoding('utf8');
  let text = '';
  for await (const chunk of message) text += chunk;
  return text;
}

/** `/apis/apps/v1/namespaces/x/daemonsets/y` → `daemonsets/y` */
function nameOf(path: string): string {
  return path.replace(/^\/(api|apis\/[^/]+)\/[^/]+\//, '').replace(/^namespaces\/[^/]+\//, '');
}

function timeless(body: string): string {
  return body.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'T').replaceAll(/"resourceVersion":"\d+"/g, '""');
}
