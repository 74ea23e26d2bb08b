/** The HTTP server for probes and scrapes: /livez, /readyz, /metrics. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

import { messageOf } from '../errors.ts';
import type { Metrics } from './metrics.ts';

/** Undefined where all is well; else one line that says what is not. */
export type Check = () => string | undefined;

export interface HealthOptions {
  /** 0: any free port. */
  readonly port: number;
  /** Default: every address. */
  readonly host?: string;
  /** What a restart would mend. Never the state of the API server or of a disk: kubelet would restart every agent at once. */
  readonly live?: Readonly<Record<string, Check>>;
  readonly ready?: Readonly<Record<string, Check>>;
  readonly metrics?: Metrics;
  /** Closes the server and its connections. */
  readonly signal: AbortSignal;
}

const plain = 'text/plain; charset=utf-8';

/**
 * Starts to serve, and resolves with the port once that is so. A check that throws counts as failed.
 * @throws the system's error where the port cannot be had
 */
export async function serveHealth(options: HealthOptions): Promise<{ readonly port: number }> {
  const { signal } = options;
  const server = http.createServer({ requestTimeout: 10_000, headersTimeout: 10_000, keepAliveTimeout: 5_000 }, (request, response) => {
    answer(options, request).then(
      ({ status, contentType, text }) => response.writeHead(status, { 'content-type': contentType }).end(request.method === 'HEAD' ? '' : text),
      (error: unknown) => response.writeHead(500, { 'content-type': plain }).end(`${messageOf(error)}\n`),
    );
  });
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  if (signal.aborted) close();
  signal.addEventListener('abort', close, { once: true });
  return { port: (server.address() as AddressInfo | null)?.port ?? 0 };
}

export interface LoopDelayOptions {
  /** Late by more than this on average is too late. */
  readonly limitMs?: number;
  readonly windowMs?: number;
  readonly tickMs?: number;
  /** Called at every tick with how late it was. */
  readonly onDelay?: (lateMs: number) => void;
}

/**
 * Fails where the event loop turned late by more than the limit, on average over the last window, so that the process is of no use.
 * A single long pause is no reason to restart.
 */
export function loopDelayCheck(signal: AbortSignal, { limitMs = 1_000, windowMs = 10_000, tickMs = 500, onDelay = () => {} }: LoopDelayOptions = {}): Check {
  let windowStartMs = performance.now();
  let dueMs = windowStartMs + tickMs;
  let lateMs = 0;
  let ticks = 0;
  let verdict: string | undefined;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    onDelay(Math.max(0, nowMs - dueMs));
    lateMs += Math.max(0, nowMs - dueMs);
    ticks += 1;
    dueMs = nowMs + tickMs;
    if (nowMs - windowStartMs < windowMs) return;
    const meanMs = Math.round(lateMs / ticks);
    verdict = meanMs > limitMs ? `the event loop turned ${meanMs} ms late on average` : undefined;
    [windowStartMs, lateMs, ticks] = [nowMs, 0, 0];
  }, tickMs).unref();
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
  return () => verdict;
}

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

async function answer({ live = {}, ready = {}, metrics }: HealthOptions, { method, url = '/' }: http.IncomingMessage): Promise<Answer> {
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, contentType: plain, text: 'only GET\n' };
  const path = url.replace(/\?.*$/, '');
  if (path === '/livez') return verdictOf(live);
  if (path === '/readyz') return verdictOf(ready);
  if (path === '/metrics' && metrics !== undefined) return { status: 200, ...(await metrics.render()) };
  return { status: 404, contentType: plain, text: 'there is /livez, /readyz and /metrics\n' };
}

function verdictOf(checks: Readonly<Record<string, Check>>): Answer {
  const lines = Object.entries(checks).map(([name, check]) => ({ name, fault: run(check) }));
  const failed = lines.some(({ fault }) => fault !== undefined);
  const text = lines.map(({ name, fault }) => `[${fault === undefined ? '+' : '-'}] ${name}${fault === undefined ? '' : `: ${fault}`}\n`).join('');
  return { status: failed ? 503 : 200, contentType: plain, text: `${text}${failed ? 'not ok' : 'ok'}\n` };
}

function run(check: Check): string | undefined {
  try {
    return check();
  } catch (error) {
    return messageOf(error);
  }
}
