import type { Stage } from './stage.ts';

const writes = ['POST', 'PUT', 'PATCH', 'APPLY', 'DELETE'];

interface Answered {
  readonly verb: string;
  readonly resource: string;
  readonly subresource: string;
  /** The HTTP status of the answers. */
  readonly code: string;
  readonly count: number;
}

/** What an API server has answered since its start: its own count, so that nothing is left out. */
export async function answeredRequests({ kubectl }: Pick<Stage['controlPlane'], 'kubectl'>): Promise<readonly Answered[]> {
  return (await kubectl(['get', '--raw', '/metrics'])).split('\n').flatMap((line) => {
    const { labels, value } = /^apiserver_request_total\{(?<labels>[^}]*)\} (?<value>\S+)$/.exec(line)?.groups ?? {};
    if (labels === undefined) return [];
    const label = (name: string) => new RegExp(`(?:^|,)${name}="([^"]*)"`).exec(labels)?.[1] ?? '';
    return [{ verb: label('verb'), resource: label('resource'), subresource: label('subresource'), code: label('code'), count: Number(value) }];
  });
}

/** Writes that were answered so far, by resource. */
export async function countWrites({ controlPlane }: Stage): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for (const { resource, verb, count } of await answeredRequests(controlPlane)) {
    if (writes.includes(verb)) counts.set(resource, (counts.get(resource) ?? 0) + count);
  }
  return counts;
}

/** By resource, without what did not grow. */
export function difference(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...after].map(([resource, count]) => [resource, count - (before.get(resource) ?? 0)] as const).filter(([, count]) => count > 0));
}
