import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KubeClient } from '../../src/kube/client.ts';
import { lead } from '../../src/kube/election.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { Reflector } from '../../src/kube/reflector.ts';
import { configMaps } from '../../src/kube/resource.ts';
import { Store } from '../../src/kube/store.ts';
import { Transport } from '../../src/kube/transport.ts';
import { silentLog } from '../../src/observe/log.ts';
import type { ControlPlane } from '../cluster/control-plane.ts';
import { startControlPlane } from '../cluster/control-plane.ts';
import { eventually } from '../cluster/eventually.ts';
import { stderrLog } from '../cluster/log.ts';

type ConfigMap = KubeObject & { data?: Record<string, string> };

const namespace = 'default';
const labelSelector = 'test=restored';
/** A backoff of the reflector, and a list; formerly 15 to 25 minutes. */
const withinMs = 60_000;

describe('an etcd that is restored to an older revision', () => {
  let controlPlane: ControlPlane;

  beforeAll(async () => {
    controlPlane = await startControlPlane({ components: ['etcd', 'kube-apiserver'], log: stderrLog });
  });

  afterAll(() => controlPlane.stop());

  const data = () => join(controlPlane.runDir.path, 'control-plane', 'etcd');
  const copy = () => join(controlPlane.runDir.path, 'etcd-copy');

  /** The same as `etcdctl snapshot save`: the files of an etcd that has ended. */
  async function snapshot(): Promise<void> {
    await offline(() => cpSync(data(), copy(), { recursive: true }));
  }

  async function restore(): Promise<void> {
    await offline(() => {
      rmSync(data(), { recursive: true });
      cpSync(copy(), data(), { recursive: true });
    });
  }

  async function offline(change: () => void): Promise<void> {
    await controlPlane.stopComponent('kube-apiserver');
    await controlPlane.stopComponent('etcd');
    change();
    await controlPlane.startComponent('etcd');
    await controlPlane.startComponent('kube-apiserver');
  }

  function connect(): { client: KubeClient; transport: Transport } {
    const { server, caFile, adminToken } = controlPlane;
    const credentials = { authorization: `Bearer ${adminToken}`, ca: readFileSync(caFile, 'utf8') };
    const transport = new Transport({ server: new URL(server), namespace, credentials: async () => credentials });
    return { client: new KubeClient(transport), transport };
  }

  function configMap(name: string, v: string): ConfigMap {
    return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace, labels: { test: 'restored' } }, data: { v } };
  }

  it('is seen by a watch, which lists again and hears of what comes then; a lease that it shows as held by nobody alive is taken', { timeout: 600_000 }, async () => {
    const { client, transport } = connect();
    const put = (name: string, v: string) => eventually(() => client.apply(configMaps, configMap(name, v), { fieldManager: 'test' }), withinMs);
    const stop = new AbortController();
    const store = new Store<ConfigMap>({ log: silentLog });
    const watching = new Reflector({ client, resource: configMaps, namespace, labelSelector, store, log: silentLog }).run(stop.signal);
    const seen = () => Object.fromEntries([...store.values()].map(({ metadata, data: { v } = {} }) => [metadata.name, v]));

    const led: string[] = [];
    /** Leads until it is stopped; resolves when it leads for the first time. */
    const candidate = (identity: string, signal: AbortSignal) => {
      const work = async (leadership: { signal: AbortSignal }) => {
        led.push(identity);
        await new Promise((resolve) => leadership.signal.addEventListener('abort', resolve));
      };
      return lead({ client, namespace, name: 'restored', identity, log: silentLog }, work, signal).catch(() => undefined);
    };

    await put('changed', '1');
    await put('deleted', '1');
    const firstStop = new AbortController();
    const first = candidate('first', firstStop.signal);
    await eventually(() => expect(led).toEqual(['first']), withinMs);
    await snapshot();
    firstStop.abort();
    await first;
    await put('changed', '2');
    await put('made', '1');
    await client.delete(configMaps, { namespace, name: 'deleted' });
    for (let write = 0; write < 100; write++) await client.apply(configMaps, configMap('other', String(write)), { fieldManager: 'test' });
    await eventually(() => expect(seen()).toEqual({ changed: '2', made: '1', other: '99' }), withinMs);
    // It knows the lease as `second` has renewed it, in versions that the restored etcd has not reached.
    const secondStop = new AbortController();
    const second = candidate('second', secondStop.signal);
    await eventually(() => expect(led).toEqual(['first', 'second']), withinMs);
    const thirdStop = new AbortController();
    const third = candidate('third', thirdStop.signal);

    await restore();
    secondStop.abort();
    await eventually(() => expect(seen()).toEqual({ changed: '1', deleted: '1' }), withinMs);
    await put('deleted', '2');
    await put('made', 'again');
    await eventually(() => expect(seen()).toEqual({ changed: '1', deleted: '2', made: 'again' }), withinMs);
    await eventually(() => expect(led.at(-1)).toBe('third'), withinMs);
    for (const each of [stop, thirdStop]) each.abort();
    await Promise.all([watching, second, third]);
    transport.close();
  });
});
