import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { KubeClient } from '../../src/kube/client.ts';
import { inClusterConnection } from '../../src/kube/config.ts';
import { keyOf } from '../../src/kube/objects.ts';
import { Reflector } from '../../src/kube/reflector.ts';
import { configMaps } from '../../src/kube/resource.ts';
import { Store } from '../../src/kube/store.ts';
import { Transport } from '../../src/kube/transport.ts';
import { silentLog } from '../../src/observe/log.ts';
import { selfSigned } from './certificate.ts';
import { collection, configMap } from './rig.ts';
import { ScriptedServer } from './scripted-server.ts';
import { SteppedClock } from './stepped-clock.ts';

const dir = mkdtempSync(join(tmpdir(), 'cachepolicy-rotation-'));
afterAll(() => rmSync(dir, { recursive: true }));

/** In real time: what waits here is TLS. */
it('a watch over TLS outlives its token and its certificate authority, as kubelet rotates their files', { timeout: 60_000 }, async () => {
  const [one, two] = [selfSigned('one'), selfSigned('two')];
  await using server = await ScriptedServer.start({ clock: new SteppedClock(), tls: one, bookmarkMs: 0 });
  const mount = (token: string, ca: string) => {
    writeFileSync(join(dir, 'token'), token);
    writeFileSync(join(dir, 'ca.crt'), ca);
  };
  writeFileSync(join(dir, 'namespace'), 'default');
  mount('first', one.cert);
  server.token = 'first';
  const { hostname, port } = server.url;
  const connection = inClusterConnection({ KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port, CACHEPOLICY_SERVICE_ACCOUNT_DIR: dir });
  const transport = new Transport(connection);
  const store = new Store({ log: silentLog });
  const told: string[] = [];
  store.subscribe({ added: (object) => void told.push(keyOf(object)) });
  const ending = new AbortController();
  const running = new Reflector({ client: new KubeClient(transport), resource: configMaps, namespace: 'default', store, log: silentLog }).run(ending.signal);
  const hears = async (name: string) => {
    server.put(collection, configMap(name));
    await expect.poll(() => told, { timeout: 20_000 }).toContain(`default/${name}`);
  };
  await expect.poll(() => server.openWatches, { timeout: 20_000 }).toBe(1);
  await hears('at-first');

  mount('second', one.cert);
  server.token = 'second';
  server.endWatches();
  await hears('with-the-second-token');
  const requests = server.seen.filter(({ verb }) => verb !== 'list').map(({ verb, headers }) => `${verb}: ${headers.authorization}`);
  expect(requests).toEqual(['watch: Bearer first', 'ask: Bearer first', 'ask: Bearer second', 'watch: Bearer second']);

  mount('second', two.cert);
  server.useCertificate(two);
  server.breakConnections();
  await hears('with-the-second-authority');
  expect(server.count('list')).toBe(1);
  ending.abort();
  await running;
  transport.close();
});
