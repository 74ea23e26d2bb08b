/** Kubelet's httpGet probes. */
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

import type { V1Container, V1Probe } from '@kubernetes/client-node';

/** A readiness probe is asked this often until its first success: what waits for the pod should not wait for the period too. */
const UNTIL_READY_MS = 500;

export interface ProbeTarget {
  readonly container: V1Container;
  /** The pod's. */
  readonly address: string;
  readonly signal: AbortSignal;
}

/** Tells whenever the container turns ready or unready. Ends when the signal aborts; never rejects. */
export async function watchReadiness(probe: V1Probe, target: ProbeTarget, onTurn: (ready: boolean) => void): Promise<void> {
  const { initialDelaySeconds = 0, periodSeconds = 10, failureThreshold = 3 } = probe;
  let ready = false;
  let failures = 0;
  await pause(initialDelaySeconds * 1000, target.signal);
  while (!target.signal.aborted) {
    const answered = await answers(probe, target);
    failures = answered ? 0 : failures + 1;
    const now: boolean = answered || (ready && failures < failureThreshold);
    if (now !== ready && !target.signal.aborted) onTurn(now);
    ready = now;
    await pause(ready ? periodSeconds * 1000 : UNTIL_READY_MS, target.signal);
  }
}

/** Settles when the container has not answered as often as the threshold says, or when the signal aborts. @returns whether it failed. */
export async function watchLiveness(probe: V1Probe, target: ProbeTarget): Promise<boolean> {
  const { initialDelaySeconds = 0, periodSeconds = 10, failureThreshold = 3 } = probe;
  await pause(initialDelaySeconds * 1000, target.signal);
  for (let failures = 0; !target.signal.aborted; ) {
    await pause(periodSeconds * 1000, target.signal);
    if (target.signal.aborted) return false;
    failures = (await answers(probe, target)) ? 0 : failures + 1;
    if (failures >= failureThreshold) return !target.signal.aborted;
  }
  return false;
}

/** @throws where the probe is of a kind or names a port that a process node does not know. */
export function checkProbe(probe: V1Probe, container: V1Container): void {
  if (probe.httpGet === undefined) throw new Error(`process nodes know no probes but httpGet (container ${container.name})`);
  portOf(probe, container);
}

function portOf(probe: V1Probe, container: V1Container): number {
  const wanted: unknown = probe.httpGet?.port;
  const port = typeof wanted === 'number' ? wanted : container.ports?.find(({ name }) => name === wanted)?.containerPort;
  if (port === undefined) throw new Error(`container ${container.name} has no port ${String(wanted)}`);
  return port;
}

async function answers(probe: V1Probe, { container, address, signal }: ProbeTarget): Promise<boolean> {
  const path = probe.httpGet?.path ?? '/';
  return new Promise((resolve) => {
    const timeout = AbortSignal.timeout((probe.timeoutSeconds ?? 1) * 1000);
    const options = { host: address, port: portOf(probe, container), path, agent: false, signal: AbortSignal.any([signal, timeout]) };
    request(options, (response) => {
      response.resume();
      const status = response.statusCode ?? 0;
      resolve(status >= 200 && status < 400);
    })
      .on('error', () => resolve(false))
      .end();
  });
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => {});
}
