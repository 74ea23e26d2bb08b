import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { runInCluster } from '../../../src/agent/in-cluster/agent.ts';
import { silentLog } from '../../../src/observe/log.ts';
import type { CompiledPolicy } from '../../../src/policy/compiled.ts';
import { noLimits, noProtection } from '../../../src/policy/limits.ts';
import { freePort } from '../../cluster/free-port.ts';
import { unpackHome } from '../../fixtures/homes.ts';
import { selfSigned } from '../../kube/certificate.ts';
import { ScriptedServer } from '../../kube/scripted-server.ts';
import { SteppedClock } from '../../kube/stepped-clock.ts';
import { parseExposition } from '../../observe/exposition.ts';

const namespace = 'cachepolicy-system';
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'cachepolicy-agent-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true });
});

it('an agent answers a scrape with the figures of its caches, beside its health', async () => {
  const { cert, key } = selfSigned('server');
  await using server = await ScriptedServer.start({ clock: new SteppedClock(), tls: { cert, key } });
  const home = unpackHome(dir);
  const cache = { name: 'rootfs', format: 'a3s-rootfs', root: join(home, 'cache/rootfs'), home, limits: { ...noLimits, maxEntries: 4 }, protect: noProtection } as const;
  const policy: CompiledPolicy = { formatVersion: 1, policy: { name: 'p', uid: 'u', generation: 1 }, accepted: true, mode: 'DryRun', schedule: null, caches: [cache] };
  server.put(`/api/v1/namespaces/${namespace}/configmaps`, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'cachepolicy-p', namespace, ownerReferences: [{ apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', name: 'p', uid: 'u' }] }, data: { 'policy.json': JSON.stringify(policy) } } as never);
  const claims = Buffer.from(JSON.stringify({ 'kubernetes.io': { node: { uid: 'node-uid' } } })).toString('base64url');
  for (const [name, text] of [['token', `x.${claims}.x`], ['ca.crt', cert], ['namespace', namespace]] as const) writeFileSync(join(dir, name), text);
  const env = {
    NODE_NAME: 'n', POD_NAME: 'cachepolicy-p-abcde', POD_NAMESPACE: namespace, POD_UID: 'pod', KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: server.url.port,
    CACHEPOLICY_SERVICE_ACCOUNT_DIR: dir,
  };
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);

  const stop = new AbortController();
  const port = await freePort();
  const running = runInCluster({ policyName: 'p', mountedFile: join(dir, 'absent'), allowedRoots: [dir], listen: `127.0.0.1:${port}`, agentVersion: '1', log: silentLog }, stop.signal);
  const get = async (path: string) => await (await fetch(`http://127.0.0.1:${port}${path}`)).text();
  await vi.waitFor(async () => expect(await get('/metrics')).toContain('cachepolicy_cache_entries{cache="rootfs",policy="p"} 8\n'), { timeout: 25_000, interval: 100 });
  const families = parseExposition(await get('/metrics'));
  const value = (name: string) => families.get(`cachepolicy_${name}`)?.samples.map((sample) => sample.value);
  expect([value('cache_limit_entries'), value('cache_usage_ratio'), value('cache_would_evict_entries')]).toEqual([[4], [2], [4]]);
  expect(families.get('cachepolicy_cache_held_entries')?.samples.find(({ labels }) => labels['source'] === 'Box')?.value).toBe(1);
  expect(families.get('cachepolicy_api_requests_total')?.samples.map(({ labels: { verb, resource } }) => `${verb} ${resource}`)).toContain('GET configmaps');
  expect(families.has('cachepolicy_event_loop_delay_seconds')).toBe(true);
  expect(await get('/livez')).toContain('ok');
  stop.abort();
  await running;
});
