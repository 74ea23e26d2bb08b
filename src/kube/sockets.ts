import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';

import type { Clock } from './clock.ts';
import type { Credentials } from './connection.ts';

/** The API server closes what was idle for 90 s: give up earlier, or a request may be sent into a closing socket; but later than a minute, which is how
 * often a quiet watch is asked about (silence.ts), or each of the questions would need a connection of its own. */
const idleSocketMs = 80_000;
/** With ten probes a second apart (fixed by libuv) a peer that went away without a word is found after 25 s, at no cost for the server. */
const keepAliveProbeMs = 15_000;
/** For TCP and TLS together. Shorter than any deadline for an answer, so that after an outage of the network a new try comes soon. */
const connectMs = 10_000;

export interface Message {
  readonly method: string;
  /** With its query, below the path of the server's URL. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body?: string | undefined;
  /** Stays open for minutes, and must not take a place among the bounded sockets of the short calls. */
  readonly longLived: boolean;
}

interface Pools {
  readonly calls: http.Agent;
  readonly watches: http.Agent;
}

/** The connections to one API server. They are replaced when the certificates change; what is on its way then is finished on the old ones. */
export class Sockets {
  readonly #server: URL;
  readonly #maxSockets: number;
  readonly #clock: Clock;
  #pools: Pools | undefined;
  #certificates = '';

  constructor(server: URL, maxSockets: number, clock: Clock) {
    this.#clock = clock;
    this.#server = server;
    this.#maxSockets = maxSockets;
  }

  /** Sends a request and resolves with the head of the answer; the body is to be read. Aborting destroys the connection, also under the body. */
  send(message: Message, credentials: Credentials, signal: AbortSignal): Promise<http.IncomingMessage> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const request = this.#open(message, credentials);
      const abort = () => void request.destroy(signal.reason);
      signal.addEventListener('abort', abort);
      request.once('close', () => signal.removeEventListener('abort', abort));
      request.once('socket', (socket) => this.#prepare(socket, request));
      request.once('response', resolve);
      request.on('error', reject);
      request.end(message.body);
    });
  }

  /** Cuts every connection. */
  close(): void {
    this.#pools?.calls.destroy();
    this.#pools?.watches.destroy();
  }

  #open({ method, path, headers, longLived }: Message, credentials: Credentials): http.ClientRequest {
    const { calls, watches } = this.#poolsFor(credentials);
    const { protocol, hostname, port, pathname } = this.#server;
    const options = {
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port,
      method,
      path: pathname.replace(/\/$/, '') + path,
      headers,
      agent: longLived ? watches : calls,
    };
    return protocol === 'https:' ? https.request(options) : http.request(options);
  }

  #prepare(socket: Socket, request: http.ClientRequest): void {
    socket.setKeepAlive(true, keepAliveProbeMs);
    if (!socket.connecting) return;
    const cancel = this.#clock.setTimer(connectMs, () => request.destroy(new Error(`no connection within ${connectMs / 1000} s`)));
    socket.once(this.#server.protocol === 'https:' ? 'secureConnect' : 'connect', cancel);
    request.once('close', cancel);
  }

  #poolsFor({ ca, cert, key, serverName, insecure }: Credentials): Pools {
    const certificates = JSON.stringify([ca, cert, key, serverName, insecure]);
    if (this.#pools !== undefined && certificates === this.#certificates) return this.#pools;
    const tls = {
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(serverName !== undefined && { servername: serverName }),
      ...(insecure === true && { rejectUnauthorized: false }),
    };
    const agent = (maxSockets: number) => {
      const options = { keepAlive: true, maxSockets, timeout: idleSocketMs };
      return this.#server.protocol === 'https:' ? new https.Agent({ ...options, ...tls }) : new http.Agent(options);
    };
    if (this.#pools !== undefined) for (const old of Object.values(this.#pools)) retire(old);
    this.#pools = { calls: agent(this.#maxSockets), watches: agent(Infinity) };
    this.#certificates = certificates;
    return this.#pools;
  }
}

/** Closes the idle connections, and each other one when its answer is complete. */
function retire(agent: http.Agent): void {
  agent.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}
