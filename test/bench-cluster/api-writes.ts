import type { Stage } from './stage.ts';

const writes = ['POST', 'PUT', 'PATCH', 'APPLY', 'DELETE'];

/** Writes that the API server has answered so far, by resource: its own count, so that nothing is left out. */
export async function countWrites({ controlPlane }: Stage): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for (const line of (await controlPlane.kubectl(['get', '--raw', '/metrics'])).split('\n')) {
    const { labels, value } = /^apiserver_request_total\{(?<labels>[^}]*)\} (?<value>\S+)$/.exec(line)?.groups ?? {};
    const label = (name: string) => new RegExp(`(?:^|,)${name}="([^"]*)"`).exec(labels ?? '')?.[1] ?? '';
    if (labels === undefined || !writes.includes(label('verb'))) continue;
    counts.set(label('resource'), (counts.get(label('resource')) ?? 0) + Number(value));
  }
  return counts;
}

/** By resource, without what did not grow. */
export function difference(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...after].map(([resource, count]) => [resource, count - (before.get(resource) ?? 0)] as const).filter(([, count]) => count > 0));
}
