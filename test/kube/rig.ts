/** A scripted server, and what is built on top of it, for one test. */
import { KubeClient } from '../../src/kube/client.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { keyOf } from '../../src/kube/objects.ts';
import { Reflector } from '../../src/kube/reflector.ts';
import { configMaps } from '../../src/kube/resource.ts';
import { Store } from '../../src/kube/store.ts';
import { Transport } from '../../src/kube/transport.ts';
import { createLog } from '../../src/observe/log.ts';
import type { Log } from '../../src/observe/log.ts';
import { ScriptedServer } from './scripted-server.ts';
import type { ScriptedServerOptions } from './scripted-server.ts';
import { SteppedClock } from './stepped-clock.ts';

export const collection = '/api/v1/namespaces/default/configmaps';

export interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
}

export function configMap(name: string, data: Record<string, string> = {}): ConfigMap {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default' }, data };
}

export interface RecordedLog {
  readonly log: Log;
  readonly lines: { level: string; msg: string; [field: string]: unknown }[];
}

export function recordedLog(): RecordedLog {
  const lines: RecordedLog['lines'] = [];
  return { lines, log: createLog({ level: 'debug', format: 'json', write: (line) => void lines.push(JSON.parse(line)) }) };
}

export interface ServerRig extends AsyncDisposable {
  readonly clock: SteppedClock;
  readonly server: ScriptedServer;
  readonly transport: Transport;
  readonly client: KubeClient;
}

export async function startServer(options: Partial<ScriptedServerOptions> = {}): Promise<ServerRig> {
  const clock = new SteppedClock();
  const server = await ScriptedServer.start({ clock, ...options });
  const transport = new Transport(server.connection(), { clock });
  return {
    clock,
    server,
    transport,
    client: new KubeClient(transport),
    async [Symbol.asyncDispose]() {
      transport.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

export interface ReflectorRig extends ServerRig, RecordedLog {
  readonly store: Store<ConfigMap>;
  readonly reflector: Reflector<ConfigMap>;
  /** What the handlers were told, in order: `+name`, `~name old→new`, `-name`. */
  readonly told: string[];
  /** Resolves when the reflector has ended. */
  stop(): Promise<void>;
  /** Lets time pass until the store has synced and a watch is open. */
  watching(): Promise<void>;
}

/** A reflector over the ConfigMaps of the namespace, already running. */
export async function startReflector(options: Partial<ScriptedServerOptions> & { fieldSelector?: string; before?: (server: ScriptedServer) => void } = {}): Promise<ReflectorRig> {
  const { fieldSelector, before, ...serverOptions } = options;
  const rig = await startServer(serverOptions);
  before?.(rig.server);
  const { log, lines } = recordedLog();
  const store = new Store<ConfigMap>({ log });
  const told: string[] = [];
  store.subscribe({
    added: (object) => void told.push(`+${keyOf(object)}`),
    updated: (object, old) => void told.push(`~${keyOf(object)} ${old.data?.['v']}→${object.data?.['v']}`),
    deleted: (object) => void told.push(`-${keyOf(object)}`),
  });
  const reflector = new Reflector({ client: rig.client, clock: rig.clock, resource: configMaps, namespace: 'default', fieldSelector, store, log });
  const abort = new AbortController();
  const running = reflector.run(abort.signal);
  const stop = async () => {
    abort.abort();
    await running;
  };
  return {
    ...rig,
    log,
    lines,
    store,
    reflector,
    told,
    stop,
    watching: async () => void (await rig.clock.passUntil(() => store.hasSynced && reflector.disconnectedMs === 0 && rig.server.openWatches > 0)),
    async [Symbol.asyncDispose]() {
      await stop();
      await rig[Symbol.asyncDispose]();
    },
  };
}
