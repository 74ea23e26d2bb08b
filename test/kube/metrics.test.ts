import { describe, expect, it } from 'vitest';
import { countRequests, meterWork } from '../../src/kube/metrics.ts';
import { WorkQueue } from '../../src/kube/queue.ts';
import { Metrics } from '../../src/observe/metrics.ts';

const signal = new AbortController().signal;

describe('the metrics of a controller', () => {
  it('say who leads, and how much waits', async () => {
    const metrics = new Metrics();
    const { leads } = meterWork(metrics);
    const shown = async () => (await metrics.render()).text.split('\n').filter((line) => /^cachepolicy_(leader|queue_depth) /.test(line));
    expect(await shown()).toEqual(['cachepolicy_leader 0', 'cachepolicy_queue_depth 0']);
    const queue = new WorkQueue();
    for (const key of ['a', 'b']) queue.add(key);
    leads(queue);
    expect(await shown()).toEqual(['cachepolicy_leader 1', 'cachepolicy_queue_depth 2']);
    leads(undefined);
    expect(await shown()).toEqual(['cachepolicy_leader 0', 'cachepolicy_queue_depth 0']);
  });

  it('count reconciles by their outcome, and change nothing about them', async () => {
    const metrics = new Metrics();
    const { timed } = meterWork(metrics);
    const reconcile = timed(async (key) => {
      if (key === 'bad') throw new Error('oops');
      return { requeueAfterMs: 5 };
    });
    expect(await reconcile('good', signal)).toEqual({ requeueAfterMs: 5 });
    await expect(reconcile('bad', signal)).rejects.toThrow('oops');
    const { text } = await metrics.render();
    for (const outcome of ['done', 'failed']) expect(text).toContain(`cachepolicy_reconcile_duration_seconds_count{outcome="${outcome}"} 1\n`);
  });

  it.each([
    ['GET', '/api/v1/namespaces/n/configmaps/cachepolicy-p', 'GET configmaps'],
    ['GET', '/api/v1/namespaces/n/configmaps?fieldSelector=metadata.name%3Dx&watch=true', 'WATCH configmaps'],
    ['GET', '/apis/cache.a3s.dev/v1alpha1/nodecaches?limit=500', 'GET nodecaches'],
    ['PATCH', '/apis/cache.a3s.dev/v1alpha1/cachepolicies/secret-name/status?fieldManager=x', 'PATCH cachepolicies/status'],
    ['PATCH', '/apis/apps/v1/namespaces/n/daemonsets/cachepolicy-p?force=true', 'PATCH daemonsets'],
    ['GET', '/api/v1/namespaces/n', 'GET namespaces'],
  ])('count %s %s as %s, without any name', async (method, path, counted) => {
    const metrics = new Metrics();
    countRequests(metrics).onAnswer({ method, path } as never, 200);
    const [verb, resource] = counted.split(' ');
    expect((await metrics.render()).text).toContain(`cachepolicy_api_requests_total{verb="${verb}",resource="${resource}",code="200"} 1\n`);
  });
});
