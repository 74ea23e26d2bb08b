import type { Metrics } from '../observe/metrics.ts';
import type { TransportOptions } from './transport.ts';

/** Counts the requests to the API server: to be given to the transport. */
export function countRequests(metrics: Metrics): Required<Pick<TransportOptions, 'onAnswer'>> {
  const requests = metrics.counter({
    name: 'api_requests_total',
    help: 'Requests to the API server, each try counted; code 0 where there was no answer.',
    labels: ['method', 'code'],
  });
  return { onAnswer: (method, code) => requests.inc({ method, code }) };
}
