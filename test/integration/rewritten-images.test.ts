import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { localOperatorImage, operatorImage } from '../cluster/image.ts';
import { stderrLog } from '../cluster/log.ts';
import type { ProcessNode } from '../cluster/process-node.ts';
import { startProcessNode } from '../cluster/process-node.ts';
import { unpackHome } from '../fixtures/homes.ts';
import { selfSigned } from '../kube/certificate.ts';
import { aPolicy, controlPlane, eventually, installOperator, kubectl, namespace } from './cluster.ts';

const labels = { 'a3s-box.io/runtime': 'true' };
const deployment = ['-n', namespace, 'deployment', 'cachepolicy-controller'];
/** As a registry mirror and digest pinning make of an image. */
const rewritten = (image: string) => `mirror.example/${image}@sha256:${'0'.repeat(64)}`;
const sidecar = { name: 'mesh', image: 'mesh:1', command: ['/nodejs/bin/node', '-e', 'setInterval(() => undefined, 1_000)'] };

/** Rewrites the image of each container of each pod that is created. */
function webhook(certificate: { cert: string; key: string }): https.Server {
  return https.createServer({ cert: certificate.cert, key: certificate.key }, (request, response) => {
    void text(request).then((body) => {
      const { apiVersion, kind, request: { uid, object } } = JSON.parse(body);
      const patch = object.spec.containers.map(({ image }: { image: string }, i: number) => ({ op: 'replace', path: `/spec/containers/${i}/image`, value: rewritten(image) }));
      const answer = { uid, allowed: true, patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ apiVersion, kind, response: answer }));
    });
  });
}

describe('where a webhook rewrites the images of pods, and a sidecar stands first in the Deployment', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-rewritten-'));
  const certificate = selfSigned('webhook');
  const server = webhook(certificate);
  let node: ProcessNode | undefined;

  beforeAll(async () => {
    await installOperator();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    await kubectl(['apply', '-f', '-'], JSON.stringify({
      apiVersion: 'admissionregistration.k8s.io/v1', kind: 'MutatingWebhookConfiguration', metadata: { name: 'rewrites-images' },
      webhooks: [{
        name: 'images.example.com', admissionReviewVersions: ['v1'], sideEffects: 'None', failurePolicy: 'Fail',
        clientConfig: { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/`, caBundle: Buffer.from(certificate.cert).toString('base64') },
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'] }],
      }],
    }));
    const probe = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'probe', namespace }, spec: { containers: [{ name: 'probe', image: 'probe:1' }] } };
    await eventually(async () => expect(await kubectl(['create', '--dry-run=server', '-o', 'json', '-f', '-'], JSON.stringify(probe))).toContain(rewritten('probe:1')));
    await kubectl(['patch', ...deployment, '--type=json', '-p', JSON.stringify([{ op: 'add', path: '/spec/template/spec/containers/0', value: sidecar }])]);
    const { server: address, caFile, adminToken } = controlPlane();
    const hostRoot = join(scratch, 'root');
    unpackHome(join(hostRoot, 'var/lib/a3s-box'));
    const images = { [rewritten(operatorImage)]: localOperatorImage, [rewritten(sidecar.image)]: localOperatorImage };
    node = await startProcessNode({ name: 'rewritten-1', controlPlane: { server: address, caFile, adminToken }, labels, hostRoot, dir: join(scratch, 'pods'), images, log: stderrLog });
  });

  afterAll(async () => {
    await kubectl(['delete', 'cachepolicies', '--all']);
    await kubectl(['delete', 'mutatingwebhookconfiguration', 'rewrites-images', '--ignore-not-found']);
    await kubectl(['patch', ...deployment, '--type=json', '-p', JSON.stringify([{ op: 'remove', path: '/spec/template/spec/containers/0' }])]);
    await node?.stop();
    server.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  it('the agents run the image that the Deployment names for the controller, and the policy becomes Ready', async () => {
    await kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ nodeSelector: labels, limits: { maxEntries: 100 } } as never)));
    await kubectl(['wait', '--for=condition=Ready', 'cachepolicy/a3s-box', '--timeout=120s']);
    expect(await kubectl(['-n', namespace, 'get', 'daemonset', 'cachepolicy-a3s-box', '-o', 'jsonpath={.spec.template.spec.containers[*].image}'])).toBe(operatorImage);
    expect(await kubectl(['-n', namespace, 'get', 'pods', '-l', 'cache.a3s.dev/policy=a3s-box', '-o', 'jsonpath={.items[*].spec.containers[*].image}'])).toBe(rewritten(operatorImage));
    const { status } = JSON.parse(await kubectl(['get', 'cachepolicy', 'a3s-box', '-o', 'json'])) as PolicyObject;
    expect(status?.conditions?.filter((each) => each.type === 'Degraded')).toEqual([]);
  }, 180_000);
});
