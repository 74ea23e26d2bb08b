import { controllerName } from '../api/names.ts';
import { messageOf, OperatorError } from '../errors.ts';
import type { KubeClient } from '../kube/client.ts';
import { backoffMs, sleep, systemClock } from '../kube/clock.ts';
import type { KubeObject } from '../kube/objects.ts';
import { deployments } from '../kube/resource.ts';
import { isNotFound } from '../kube/status-error.ts';
import type { Log } from '../observe/log.ts';

type Deployment = KubeObject & { readonly spec: { readonly template: { readonly spec: { readonly containers: readonly { readonly name: string; readonly image: string }[] } } } };

/** In deploy/controller.yaml. */
const containerName = 'controller';

/**
 * The image that the agents run: that of the container `controller` in the template of the controller's own Deployment. Its pod is not asked, because webhooks rewrite images of
 * pods (registry mirrors, digests), and admission takes only what the installer wrote. Asked again until there is an answer: a start in an outage of the API must not end in a
 * crash loop, whose backoff would go on after the outage.
 * @returns undefined where the signal came first
 * @throws ERR_KUBE_CONFIG where there is no such Deployment or container; KubeStatusError where it may not be read
 */
export async function agentImage(client: KubeClient, { namespace, log, signal }: { namespace: string; log: Log; signal: AbortSignal }): Promise<string | undefined> {
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      return await imageIn(client, namespace, signal);
    } catch (error) {
      if (signal.aborted) break;
      if (!(error instanceof OperatorError) || !error.retry) throw error;
      log.warn({ err: error }, `the image of the agents is not known yet: ${messageOf(error)}`);
      await sleep(systemClock, backoffMs(failures, 1_000, 10_000, systemClock.random()), signal);
    }
  }
  return undefined;
}

async function imageIn(client: KubeClient, namespace: string, signal: AbortSignal): Promise<string> {
  const what = `Deployment ${namespace}/${controllerName}`;
  try {
    const { spec } = await client.get<Deployment>(deployments, { namespace, name: controllerName }, { signal });
    // By name: a patch may have put a sidecar before it.
    const image = spec.template.spec.containers.find(({ name }) => name === containerName)?.image;
    if (image !== undefined) return image;
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new OperatorError('ERR_KUBE_CONFIG', `${what} does not exist; say which image the agents run with --image`, { cause: error });
  }
  throw new OperatorError('ERR_KUBE_CONFIG', `${what} has no container ${containerName}; say which image the agents run with --image`);
}
