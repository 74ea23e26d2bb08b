import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CachePolicy } from '../../src/api/cachepolicy.gen.ts';
import type { NodeCache } from '../../src/api/nodecache.gen.ts';
import { localOperatorImage, operatorImage } from '../cluster/image.ts';
import { stderrLog } from '../cluster/log.ts';
import type { ProcessNode } from '../cluster/process-node.ts';
import { startProcessNode } from '../cluster/process-node.ts';
import { mapping } from '../fixtures/mapping.ts';
import { aPolicy, controlPlane, eventually, installOperator, kubectl } from './cluster.ts';

const labels = { 'example.com/models': 'true' };
/** From a change to the disk and the policy's status, a settle among it; on a machine that has much else to do. */
const withinMs = 60_000;

describe('a directory of models on a node', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-directory-'));
  const models = join(scratch, 'root', 'var/cache/models');
  let node: ProcessNode | undefined;

  beforeAll(async () => {
    await installOperator();
    // Of 64Ki each, the first the oldest.
    for (const [hours, name] of [[4, 'llama'], [3, 'mistral'], [2, 'phi']] as const) model(name, hours);
    const { server, caFile, adminToken } = controlPlane();
    const images = { [operatorImage]: localOperatorImage };
    node = await startProcessNode({ name: 'models-1', controlPlane: { server, caFile, adminToken }, labels, hostRoot: join(scratch, 'root'), dir: join(scratch, 'pods'), images, log: stderrLog });
  });

  afterAll(async () => {
    await kubectl(['delete', 'cachepolicies', '--all']);
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
  const limited = (limits: object) => {
    const caches = [{ name: 'models', directory: { path: '/var/cache/models' }, limits, protect: { minIdle: '0s' } }];
    return kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name: 'models', nodeSelector: labels, caches } as never)));
  };
  const thePolicy = async () => JSON.parse(await kubectl(['get', 'cachepolicy', 'models', '-o', 'json'])) as CachePolicy;
  const theReport = async () => (JSON.parse(await kubectl(['get', 'nodecache', 'models.models-1', '-o', 'json'])) as NodeCache).status?.caches?.[0];

  it('is counted by what it takes on the disk', async () => {
    await limited({ maxEntries: 100 });
    await kubectl(['wait', '--for=condition=Ready', 'cachepolicy/models', '--timeout=90s']);
    const { status } = await thePolicy();
    expect(status?.stats).toMatchObject({ entryCount: 3 });
    // The folders take some, too, as much as the filesystem likes.
    expect(status?.stats?.totalBytes).toBeGreaterThanOrEqual(3 * 65_536);
    expect(await theReport()).toMatchObject({ holdSources: expect.arrayContaining(['Lease']) });
  });

  it('loses the least recently used, never one that a process has mapped, and says what holds a limit out of reach', async () => {
    const user = spawn('python3', ['-c', mapping, join(models, 'llama', 'weights')], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      await new Promise((resolve, reject) => user.stdout.once('data', resolve).once('end', () => reject(new Error('nothing was mapped'))));
      await limited({ maxEntries: 0 });
      await eventually(async () => {
        expect(names()).toEqual(['llama']);
        expect(await theReport()).toMatchObject({ stats: { entryCount: 1 }, protected: { inUse: { entries: 1 } }, totals: { evictedEntries: 2 } });
        expect((await thePolicy()).status?.conditions).toContainEqual(expect.objectContaining({ type: 'LimitUnreachable', status: 'True', reason: 'HeldInUse' }));
      }, withinMs);
    } finally {
      user.stdin.end();
      await new Promise((resolve) => (user.exitCode === null ? user.once('exit', resolve) : resolve(undefined)));
    }
  });

  it('counts what was open as used, and lets it go when it was idle for long enough', async () => {
    // Any change of the directory is a reason to look.
    model('qwen', 1);
    await limited({ maxEntries: 1 });
    await eventually(() => expect(names()).toEqual(['llama']), withinMs);
    await limited({ maxIdle: '1s' });
    await eventually(() => expect(names()).toEqual([]), 2 * withinMs);
  });
});
