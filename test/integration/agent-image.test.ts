import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { childName } from '../../src/api/names.ts';
import type { PolicyObject } from '../../src/controller/admission.ts';
import type { Clock } from '../../src/kube/clock.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, daemonSets } from '../../src/kube/resource.ts';
import { operatorImage } from '../cluster/image.ts';
import { aPolicy, eventually, installOperator, kubectl, namespace, ownKustomization } from './cluster.ts';
import type { Controller } from './controller-rig.ts';
import { api, collectGarbage, freeLease, hurried, remove, SimulatedNode, startController } from './controller-rig.ts';
import type { Write } from './fault-proxy.ts';

const policyName = 'agent-image';
const labels = { 'faults.example/agent-image': 'yes' };
const nextImage = operatorImage.replace(/:.*/, ':next');
const refused = `PATCH daemonsets/${childName(policyName)} 403`;

type DaemonSet = KubeObject & { spec: { template: { spec: { containers: [{ image: string }] } } } };

/** Admission takes from the controller's account no agents of another image than was installed. In an upgrade the two differ for a while. */
describe('while another image is installed than the controller runs', () => {
  const node = new SimulatedNode('agent-image-node');
  /** Conditions that were written and are not True. */
  let untrue: string[] = [];
  let controller: Controller | undefined;

  beforeAll(async () => {
    await installOperator();
    await freeLease();
    await node.start(labels);
    controller = await start(operatorImage);
    await kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: policyName, home: '/var/cache/agent-image', nodeSelector: labels } as never)));
    await node.report(policyName, 0);
    await kubectl(['wait', '--for=condition=Ready', `cachepolicy/${policyName}`, '--timeout=60s']);
    await controller.stop();
  });

  beforeEach(() => {
    untrue = [];
  });

  afterEach(async () => {
    await controller?.stop();
  });

  afterAll(async () => {
    await install(operatorImage);
    await remove(cachePolicies, policyName);
    await node.removeAgents(policyName);
    await collectGarbage(policyName);
    await node.stop();
    await freeLease();
  });

  async function start(image: string, clock?: Clock): Promise<Controller> {
    const onWrite = ({ what, body }: Write) => {
      if (what === `PATCH cachepolicies/${policyName}/status`) untrue.push(...untrueIn(body));
      return 'pass' as const;
    };
    return startController({ onWrite }, clock, image);
  }

  function untrueIn(body: string): string[] {
    const { status } = JSON.parse(body) as PolicyObject;
    return (status?.conditions ?? []).filter((each) => each.status !== 'True').map(({ type, status: is, reason, message }) => `${type} ${is} ${reason}: ${message}`);
  }

  /** And admission has taken it up. */
  async function install(image: string): Promise<void> {
    using own = ownKustomization({ image });
    await kubectl(['apply', '-k', own.dir]);
    const daemonSet = await api().get<DaemonSet>(daemonSets, { name: childName(policyName), namespace });
    daemonSet.spec.template.spec.containers[0].image = image;
    const { resourceVersion: _, managedFields: __, ...metadata } = daemonSet.metadata as KubeObject['metadata'] & { managedFields?: unknown };
    const asController = ['apply', '--server-side', '--force-conflicts', '--dry-run=server', `--as=system:serviceaccount:${namespace}:cachepolicy-controller`, '-f', '-'];
    await eventually(() => kubectl(asController, JSON.stringify({ ...daemonSet, metadata, status: undefined })));
  }

  const refusals = () => controller?.proxy.writes.filter((write) => write === refused).length ?? 0;
  const image = async () => (await api().get<DaemonSet>(daemonSets, { name: childName(policyName), namespace })).spec.template.spec.containers[0].image;

  it('a replica of the old image that comes to lead leaves the agents as they are, and counts on', async () => {
    await install(nextImage);
    controller = await start(operatorImage);
    await eventually(() => expect(refusals()).toBeGreaterThan(0));
    // More than twice the 10 s after which a refusal is told, in the controller's hurried time.
    await delay(1_000);
    await node.report(policyName, 3);
    await eventually(async () => expect((await api().get<PolicyObject>(cachePolicies, { name: policyName })).status).toMatchObject({ evictedEntries: 3 }));
    expect(untrue).toEqual([]);
    expect(await image()).toBe(operatorImage);
  });

  it('a replica of the new image tries again, and says nothing of a refusal that passes', async () => {
    await install(operatorImage);
    // Patient, for a busy machine: what is told after 10 s of its time is told after 20 s here.
    controller = await start(nextImage, hurried(0.5));
    await eventually(() => expect(refusals()).toBeGreaterThan(1));
    await install(nextImage);
    await eventually(async () => expect(await image()).toBe(nextImage));
    expect(untrue).toEqual([]);
  });
});
