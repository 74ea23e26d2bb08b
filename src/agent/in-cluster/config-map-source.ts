import { readFileSync } from 'node:fs';
import { childName, compiledPolicyKey } from '../../api/names.ts';
import { messageOf, OperatorError } from '../../errors.ts';
import type { KubeClient } from '../../kube/client.ts';
import { sleep, systemClock } from '../../kube/clock.ts';
import type { Clock } from '../../kube/clock.ts';
import type { KubeObject } from '../../kube/objects.ts';
import { Reflector } from '../../kube/reflector.ts';
import { configMaps } from '../../kube/resource.ts';
import { Store } from '../../kube/store.ts';
import type { Log } from '../../observe/log.ts';
import type { CompiledPolicy } from '../../policy/compiled.ts';
import { parseCompiled, subjectOf } from '../../policy/compiled.ts';
import type { Origin, PolicySource } from '../loop.ts';
import { policyBelowHostRoot } from './host-root.ts';

/** Without an answer of the API for this long at the start, the mounted copy of the policy is used until it answers. */
const mountedCopyAfterMs = 30_000;

type ConfigMap = KubeObject & { data?: Record<string, string> };

export interface ConfigMapSourceOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly policyName: string;
  /** The same compiled policy, mounted by kubelet. */
  readonly mountedFile: string;
  /** Called with a policy that cannot be taken up or is gone, and with undefined when the latest one is in force again. */
  readonly onRefusal: (refusal: Refusal | undefined) => void;
  readonly log: Log;
  readonly clock?: Clock;
}

export interface Refusal {
  /** The latest policy cannot be read; or the CachePolicy is gone. */
  readonly reason: 'PolicyFormat' | 'PolicyGone';
  readonly message: string;
  /** Whose policy it is, as far as it can be read. */
  readonly subject: CompiledPolicy['policy'] | undefined;
}

/**
 * Follows the one ConfigMap that holds the compiled policy. A policy that cannot be read leaves the last good one in force. Where the ConfigMap is gone, or no
 * CachePolicy owns it any more (deleted with --cascade=orphan), the policy is gone: its agents evict nothing.
 */
export class ConfigMapSource implements PolicySource {
  readonly #options: ConfigMapSourceOptions;

  constructor(options: ConfigMapSourceOptions) {
    this.#options = options;
  }

  async follow(signal: AbortSignal, onPolicy: (policy: CompiledPolicy, origin: Origin) => void): Promise<void> {
    const { client, namespace, policyName, log, onRefusal, clock = systemClock } = this.#options;
    const store = new Store<ConfigMap>({ log });
    let latest: string | undefined;
    let inForce: CompiledPolicy | undefined;
    const take = (text: string | undefined, origin: Origin) => {
      if (text === undefined) return;
      if (text === latest) return onRefusal(undefined);
      try {
        inForce = policyBelowHostRoot(parseCompiled(text));
        // A mounted copy is taken up again, as certain, when the API server shows the same.
        latest = origin === 'Source' ? text : undefined;
        onRefusal(undefined);
        onPolicy(inForce, origin);
      } catch (error) {
        log.error({ err: error, origin }, `the policy is not taken up, the last good one stays in force: ${messageOf(error)}`);
        onRefusal({ reason: 'PolicyFormat', message: messageOf(error), subject: subjectOf(text) });
      }
    };
    const stop = () => {
      const message = `CachePolicy ${policyName} is gone, and nothing is evicted for it any more; delete the DaemonSet ${childName(policyName)} in ${namespace}, or create the policy again`;
      log.warn({ policy: policyName }, message);
      latest = undefined;
      onRefusal({ reason: 'PolicyGone', message, subject: undefined });
      if (inForce?.accepted !== true) return;
      inForce = { ...inForce, accepted: false };
      onPolicy(inForce, 'Source');
    };
    const read = (object: ConfigMap) => (isOwned(object) ? take(object.data?.[compiledPolicyKey], 'Source') : stop());
    store.subscribe({ added: read, updated: read, deleted: stop });
    const selection = { namespace, fieldSelector: `metadata.name=${childName(policyName)}` };
    const watching = new Reflector({ client, resource: configMaps, store, log, clock, ...selection }).run(signal);
    await Promise.race([store.synced, sleep(clock, mountedCopyAfterMs, signal)]);
    if (!store.hasSynced && !signal.aborted) take(this.#readMounted(), 'Copy');
    await watching;
  }

  #readMounted(): string | undefined {
    const { mountedFile, log } = this.#options;
    try {
      const text = readFileSync(mountedFile, 'utf8');
      log.warn({ file: mountedFile }, 'no answer of the API server; the mounted copy of the policy is used');
      return text;
    } catch (error) {
      log.error({ err: new OperatorError('ERR_INPUT_UNREADABLE', `${mountedFile} cannot be read`, { cause: error }) }, 'no policy yet: neither from the API server nor mounted');
      return undefined;
    }
  }
}

function isOwned({ metadata: { ownerReferences = [] } }: ConfigMap): boolean {
  return ownerReferences.some(({ kind }) => kind === 'CachePolicy');
}
