import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiVersion } from '../../src/api/names.ts';
import type { NodeCache } from '../../src/api/nodecache.gen.ts';
import { localOperatorImage, operatorImage } from '../cluster/image.ts';
import { stderrLog } from '../cluster/log.ts';
import type { ProcessNode } from '../cluster/process-node.ts';
import { startProcessNode } from '../cluster/process-node.ts';
import { aPolicy, controlPlane, eventually, installOperator, kubectl, namespace } from './cluster.ts';

const labels = { 'example.com/orphaned': 'true' };
const withinMs = 120_000;

describe('agents that a deletion of their policy left behind', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-orphaned-'));
  const models = join(scratch, 'root', 'var/cache/orphaned');
  let node: ProcessNode | undefined;

  beforeAll(async () => {
    await installOperator();
    for (const [hours, name] of [[4, 'one'], [3, 'two']] as const) model(name, hours);
    const { server, caFile, adminToken } = controlPlane();
    node = await startProcessNode({
      name: 'orphaned-1', controlPlane: { server, caFile, adminToken }, labels, hostRoot: join(scratch, 'root'), dir: join(scratch, 'pods'),
      images: { [operatorImage]: localOperatorImage }, log: stderrLog,
    });
  });

  afterAll(async () => {
    await kubectl(['delete', 'cachepolicies', '--all']);
    await kubectl(['delete', 'daemonset', 'cachepolicy-orphaned', '-n', namespace, '--ignore-not-found']);
    await node?.stop();
    rmSync(scratch, { recursive: true, force: true });
  });

  function model(name: string, usedHoursAgo: number): void {
    mkdirSync(join(models, name), { recursive: true });
    writeFileSync(join(models, name, 'weights'), Buffer.alloc(65_536, 1));
    const at = Date.now() / 1000 - usedHoursAgo * 3600;
    for (const path of [join(models, name, 'weights'), join(models, name)]) utimesSync(path, at, at);
  }

  const names = () => readdirSync(models).filter((name) => !name.startsWith('.')).toSorted();
  const theReport = async () => (JSON.parse(await kubectl(['get', 'nodecache', 'orphaned.orphaned-1', '-o', 'json'])) as NodeCache).status;
  const apply = () => {
    const caches = [{ name: 'models', directory: { path: '/var/cache/orphaned' }, limits: { maxEntries: 2 }, protect: { minIdle: '0s' } }];
    return kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: 'orphaned', nodeSelector: labels, caches } as never)));
  };

  /** The garbage collector learns of a new kind only half a minute after its definition; a report that it does not know it cannot leave behind. */
  async function untilCollected(): Promise<void> {
    const metadata = { name: 'gone.orphaned-1', ownerReferences: [{ apiVersion, kind: 'CachePolicy', name: 'gone', uid: '5f1c7c5e-0000-4000-8000-000000000001' }] };
    await kubectl(['create', '-f', '-'], JSON.stringify({ apiVersion, kind: 'NodeCache', metadata, spec: { policyName: 'gone', nodeName: 'orphaned-1' } }));
    await eventually(async () => expect(await kubectl(['get', 'nodecache', 'gone.orphaned-1', '--ignore-not-found', '-o', 'name'])).toBe(''), withinMs);
  }

  it('evict nothing, say so in their report, and go on when the policy is created again', { timeout: 300_000 }, async () => {
    await apply();
    await kubectl(['wait', '--for=condition=Ready', 'cachepolicy/orphaned', '--timeout=90s']);
    await untilCollected();
    await kubectl(['delete', 'cachepolicy', 'orphaned', '--cascade=orphan']);
    await eventually(async () => expect((await theReport())?.conditions).toContainEqual(expect.objectContaining({
      type: 'Degraded', status: 'True', reason: 'PolicyGone', message: expect.stringMatching(/^CachePolicy orphaned is gone, .*delete the DaemonSet cachepolicy-orphaned in cachepolicy-system/),
    })), withinMs);
    model('three', 1);
    await eventually(async () => expect((await theReport())?.caches?.[0]).toMatchObject({ stats: { entryCount: 3 }, overLimit: true }), withinMs);
    expect(names()).toEqual(['one', 'three', 'two']);
    await apply();
    await eventually(() => expect(names()).toEqual(['three', 'two']), withinMs);
  });
});
