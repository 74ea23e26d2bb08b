/** Requests to the API server as raw JSON: credentials, deadlines, and which failures are tried again. */
import type { IncomingMessage } from 'node:http';

import { messageOf, OperatorError } from '../errors.ts';
import { backoffMs, sleep, systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import type { Connection, Credentials } from './connection.ts';
import { Deadline } from './deadline.ts';
import type { Status } from './objects.ts';
import { Sockets } from './sockets.ts';
import { KubeStatusError } from './status-error.ts';

/** As client-go: tokens and CA files are rotated minutes before the old ones end. */
const credentialsLifeMs = 60_000;
const firstRetryMs = 250;
const longestRetryMs = 10_000;
/** A server that wants more rest than this gets it from the caller, who can decide to do something else meanwhile. */
const longestRetryAfterMs = 30_000;

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  /** Default `application/json`. */
  readonly contentType?: string;
  /** Sent twice it does no more than once, so that it may be sent again when it is unknown whether it arrived. */
  readonly repeatable: boolean;
  /** For each try, from the first byte sent to the last received. Default 30 s. */
  readonly deadlineMs?: number | undefined;
  /** How often it is sent at most. Default 4. */
  readonly maxAttempts?: number | undefined;
  /** Over how long the next tries of many that were refused as too many (429) are spread. Default: as after any failure, half a second at first. */
  readonly refusedSpreadMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called before every try; what it throws ends the call. */
  readonly beforeSend?: (() => void) | undefined;
}

export interface TransportOptions {
  readonly clock?: Clock;
  readonly userAgent?: string;
  /** Connections for short calls; each watch has one more. Default 8. */
  readonly maxSockets?: number;
  /** Told of every try: the HTTP status, or 0 where there was no answer. */
  readonly onAnswer?: (call: Pick<Call, 'method' | 'path'>, status: number) => void;
}

/** An open answer whose body is still coming. Dispose of it to cut the connection. */
export interface OpenStream extends Disposable {
  readonly body: IncomingMessage;
  readonly signal: AbortSignal;
}

export class Transport {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #sockets: Sockets;
  readonly #userAgent: string;
  readonly #onAnswer: (call: Pick<Call, 'method' | 'path'>, status: number) => void;
  #credentials: Credentials | undefined;
  #credentialsReadAtMs = 0;
  #credentialsDoubted = false;

  constructor(connection: Connection, options: TransportOptions = {}) {
    this.#connection = connection;
    this.#clock = options.clock ?? systemClock;
    this.#sockets = new Sockets(connection.server, options.maxSockets ?? 8, this.#clock);
    this.#userAgent = options.userAgent ?? 'cachepolicy';
    this.#onAnswer = options.onAnswer ?? (() => undefined);
  }

  /**
   * Sends a call and returns the JSON of the answer. 429 is tried again for every method, 502 to 504 and broken connections for repeatable
   * calls, all with Retry-After and growing jittered waits; 401 once, with credentials read anew.
   * @throws KubeStatusError the server said no; ERR_KUBE_UNREACHABLE no answer; the reason of the signal when that aborts
   */
  request<T>(call: Call): Promise<T> {
    return this.#persist(call, async () => {
      using deadline = new Deadline(this.#clock, call.deadlineMs ?? 30_000, nameOf(call), call.signal);
      const text = await this.#attempt(call, deadline.signal, false, readText);
      return parse<T>(call, text);
    });
  }

  /** Sends a call whose answer does not end: resolves with its head (the deadline ends there). Tried again only after a 401. Throws as `request`. */
  open(call: Call): Promise<OpenStream> {
    return this.#persist({ ...call, maxAttempts: 1 }, async () => {
      const deadline = new Deadline(this.#clock, call.deadlineMs ?? 30_000, nameOf(call), call.signal);
      try {
        const body = await this.#attempt(call, deadline.signal, true, async (answer) => answer);
        deadline.lift();
        return { body, signal: deadline.signal, [Symbol.dispose]: () => (deadline[Symbol.dispose](), body.destroy()) };
      } catch (error) {
        deadline[Symbol.dispose]();
        throw error;
      }
    });
  }

  /** Cuts every connection; calls on their way fail. */
  close(): void {
    this.#sockets.close();
  }

  async #persist<T>(call: Call, attempt: () => Promise<T>): Promise<T> {
    const signal = call.signal ?? new AbortController().signal;
    for (let failures = 0, unauthorized = false; ; ) {
      signal.throwIfAborted();
      call.beforeSend?.();
      try {
        return await attempt();
      } catch (error) {
        if (error instanceof KubeStatusError && error.status === 401 && !unauthorized) {
          unauthorized = true;
          this.#credentialsDoubted = true;
          continue;
        }
        const waitMs = failures + 1 < (call.maxAttempts ?? 4) ? this.#retryDelay(call, error, failures) : undefined;
        if (waitMs === undefined) throw error;
        failures++;
        await sleep(this.#clock, waitMs, signal);
      }
    }
  }

  /** Undefined where another try cannot help or might do harm. */
  #retryDelay(call: Call, error: unknown, failures: number): number | undefined {
    if (!(error instanceof OperatorError)) return undefined;
    const backoff = backoffMs(failures, firstRetryMs, longestRetryMs, this.#clock.random());
    if (!(error instanceof KubeStatusError)) return error.code === 'ERR_KUBE_UNREACHABLE' && call.repeatable ? backoff : undefined;
    const refused = error.status === 429;
    const waitMs = refused && call.refusedSpreadMs !== undefined ? this.#clock.random() * call.refusedSpreadMs : backoff;
    const passing = call.repeatable && error.status >= 502 && error.status <= 504;
    const retryAfterMs = error.retryAfterMs ?? 0;
    return (refused || passing) && retryAfterMs <= longestRetryAfterMs ? retryAfterMs + waitMs : undefined;
  }

  async #attempt<T>(call: Call, signal: AbortSignal, longLived: boolean, read: (answer: IncomingMessage) => Promise<T>): Promise<T> {
    const credentials = await this.#currentCredentials();
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const headers: Record<string, string | number> = { accept: 'application/json', 'user-agent': this.#userAgent };
    if (credentials.authorization !== undefined) headers['authorization'] = credentials.authorization;
    if (body !== undefined) {
      headers['content-type'] = call.contentType ?? 'application/json';
      headers['content-length'] = Buffer.byteLength(body);
    }
    let status = 0;
    try {
      const answer = await this.#sockets.send({ method: call.method, path: call.path, headers, body, longLived }, credentials, signal);
      status = answer.statusCode ?? 0;
      if (status >= 200 && status < 300) return await read(answer);
      throw statusError(call, answer, await readText(answer));
    } catch (error) {
      if (error instanceof KubeStatusError) throw error;
      if (signal.aborted) throw signal.reason;
      // A certificate authority that was rotated shows as a broken connection.
      this.#credentialsDoubted = true;
      throw new OperatorError('ERR_KUBE_UNREACHABLE', `no answer of the API server: ${messageOf(error)} (${nameOf(call)})`, { cause: error });
    } finally {
      this.#onAnswer(call, status);
    }
  }

  async #currentCredentials(): Promise<Credentials> {
    const ageMs = this.#clock.monotonicMs() - this.#credentialsReadAtMs;
    if (this.#credentials === undefined || this.#credentialsDoubted || ageMs >= credentialsLifeMs) {
      this.#credentials = await this.#connection.credentials();
      this.#credentialsReadAtMs = this.#clock.monotonicMs();
      this.#credentialsDoubted = false;
    }
    return this.#credentials;
  }
}

function nameOf(call: Call): string {
  return `${call.method} ${call.path}`;
}

async function readText(answer: IncomingMessage): Promise<string> {
  answer.setEncoding('utf8');
  let text = '';
  for await (const chunk of answer) text += chunk;
  return text;
}

function parse<T>(call: Call, text: string): T {
  const value = jsonOrUndefined(text);
  if (typeof value === 'object' && value !== null) return value as T;
  throw new OperatorError('ERR_KUBE_UNREACHABLE', `the answer is no JSON object, so it is not from an API server (${nameOf(call)})`);
}

function statusError(call: Call, answer: IncomingMessage, text: string): KubeStatusError {
  const seconds = Number(answer.headers['retry-after']);
  const value = jsonOrUndefined(text);
  const body = typeof value === 'object' && value !== null ? (value as Partial<Status>) : { message: text.slice(0, 200).trim() };
  return new KubeStatusError(nameOf(call), answer.statusCode ?? 0, body, seconds > 0 ? seconds * 1000 : undefined);
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
