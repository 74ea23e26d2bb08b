import type { Metrics } from '../observe/metrics.ts';
import type { Reconcile } from './control-loop.ts';
import type { WorkQueue } from './queue.ts';
import type { TransportOptions } from './transport.ts';

/** Counts the requests to the API server: to be given to the transport. */
export function countRequests(metrics: Metrics): Required<Pick<TransportOptions, 'onAnswer'>> {
  const requests = metrics.counter({
    name: 'api_requests_total',
    help: 'Requests to the API server, each try counted; code 0 where there was no answer, verb WATCH for each start of a watch.',
    labels: ['verb', 'resource', 'code'],
  });
  return { onAnswer: ({ method, path }, code) => requests.inc({ verb: isWatch(path) ? 'WATCH' : method, resource: resourceOf(path), code }) };
}

function isWatch(path: string): boolean {
  return /[?&]watch=(true|1)\b/.test(path);
}

/** `/apis/apps/v1/namespaces/n/daemonsets/d?…` → `daemonsets`, `…/nodecaches/x/status` → `nodecaches/status`: never a name. */
function resourceOf(path: string): string {
  const [plural = 'other', name, subresource] = path.replace(/\?.*$/, '').replace(/^\/(api|apis\/[^/]+)\/[^/]+\//, '').replace(/^namespaces\/[^/]+\/(?=.)/, '').split('/');
  return name !== undefined && subresource !== undefined ? `${plural}/${subresource}` : plural;
}

export interface WorkMeter {
  /** The same, timed and counted by its outcome. */
  timed(reconcile: Reconcile): Reconcile;
  /** Which queue is worked on while this process leads; undefined while it does not. */
  leads(queue: WorkQueue | undefined): void;
}

export function meterWork(metrics: Metrics): WorkMeter {
  let present: WorkQueue | undefined;
  metrics.gauge({ name: 'leader', help: '1 while this controller leads, 0 while it stands by.' }, (gauge) => gauge.set(present === undefined ? 0 : 1));
  metrics.gauge({ name: 'queue_depth', help: 'Policies that wait for a reconcile.' }, (gauge) => gauge.set(present?.size ?? 0));
  const durations = metrics.histogram(
    { name: 'reconcile_duration_seconds', help: 'Time of a reconcile of one policy, by its outcome: done, failed.', labels: ['outcome'] },
    [0.001, 0.01, 0.1, 0.5, 1, 5, 30],
  );
  return {
    leads: (queue) => {
      present = queue;
    },
    timed: (reconcile) => async (key, signal) => {
      const sinceMs = performance.now();
      let outcome: 'done' | 'failed' = 'failed';
      try {
        const result = await reconcile(key, signal);
        outcome = 'done';
        return result;
      } finally {
        durations.observe({ outcome }, (performance.now() - sinceMs) / 1000);
      }
    },
  };
}
