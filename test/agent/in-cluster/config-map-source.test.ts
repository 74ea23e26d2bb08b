import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ConfigMapSource } from '../../../src/agent/in-cluster/config-map-source.ts';
import type { Origin } from '../../../src/agent/loop.ts';
import type { CompiledPolicy } from '../../../src/policy/compiled.ts';
import { collection, configMap, recordedLog, startServer } from '../../kube/rig.ts';
import { busy, hang, status } from '../../kube/scripted-server.ts';
import type { ScriptedServer } from '../../kube/scripted-server.ts';
import { aCompiledPolicy } from './builders.ts';

const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-source-'));
let mounts = 0;
afterAll(() => rmSync(scratch, { recursive: true }));

const second = 1_000;
const text = (generation: number, change: object = {}) => JSON.stringify({ ...aCompiledPolicy({ generation }), ...change });
const owner = { apiVersion: 'cache.a3s.dev/v1alpha1', kind: 'CachePolicy', name: 'a3s-box', uid: 'uid-1', controller: true };
const owned = (data?: Record<string, string>) => {
  const object = configMap('cachepolicy-a3s-box', data);
  return { ...object, metadata: { ...object.metadata, ownerReferences: [owner] } };
};
const tell = (server: ScriptedServer, policy: string) => server.put(collection, owned({ 'policy.json': policy }));

/** A source that follows the scripted server, and what it said: `3` for a generation that was taken up, the message of a refusal, `fine`. */
async function startSource({ before, mounted }: { before?: (server: ScriptedServer) => void; mounted?: string } = {}) {
  const rig = await startServer();
  before?.(rig.server);
  const mountedFile = join(scratch, String(mounts++));
  if (mounted !== undefined) writeFileSync(mountedFile, mounted);
  const said: (number | string)[] = [];
  const subjects: unknown[] = [];
  const source = new ConfigMapSource({
    client: rig.client, clock: rig.clock, namespace: 'default', policyName: 'a3s-box', mountedFile, log: recordedLog().log,
    onRefusal: (refusal) => {
      said.push(refusal?.message ?? 'fine');
      subjects.push(refusal?.subject);
    },
  });
  const ending = new AbortController();
  const origins: Origin[] = [];
  const running = source.follow(ending.signal, ({ policy, accepted }: CompiledPolicy, origin) => {
    said.push(accepted ? policy.generation : `${policy.generation}, not in force`);
    origins.push(origin);
  });
  return {
    ...rig, said, subjects, origins,
    async [Symbol.asyncDispose]() {
      ending.abort();
      await running;
      await rig[Symbol.asyncDispose]();
    },
  };
}

describe.concurrent('the policy of an agent', () => {
  it('is the one in its ConfigMap, and every later one', async () => {
    await using source = await startSource({ before: (server) => tell(server, text(1)) });
    await source.clock.passUntil(() => source.said.includes(1));
    tell(source.server, text(2));
    await source.clock.passUntil(() => source.said.includes(2));
    expect(source.said).toEqual(['fine', 1, 'fine', 2]);
  });

  it.each([
    ['of another format', text(2, { formatVersion: 3 }), 'the compiled policy has format 3; this agent reads 1 and 2'],
    ['without a field that it must have', text(2, { caches: [{}] }), 'the compiled policy has no valid caches'],
    ['that is cut off', text(2).slice(0, -1), 'the compiled policy is not JSON'],
  ])('stays the last good one where a later one comes %s, until one that can be read comes', async (_, refused, message) => {
    await using source = await startSource({ before: (server) => tell(server, text(1)) });
    await source.clock.passUntil(() => source.said.includes(1));
    tell(source.server, refused);
    await source.clock.passUntil(() => source.said.includes(message));
    tell(source.server, text(3));
    await source.clock.passUntil(() => source.said.includes(3));
    expect(source.said).toEqual(['fine', 1, message, 'fine', 3]);
  });

  it.each([
    ['no CachePolicy owns its ConfigMap any more', (server: ScriptedServer) => server.put(collection, configMap('cachepolicy-a3s-box', { 'policy.json': text(1) }))],
    ['its ConfigMap is deleted', (server: ScriptedServer) => server.remove(collection, 'cachepolicy-a3s-box')],
  ])('evicts nothing any more where %s, and is in force again when the policy is created again', async (_, leave) => {
    await using source = await startSource({ before: (server) => tell(server, text(1)) });
    await source.clock.passUntil(() => source.said.includes(1));
    leave(source.server);
    await source.clock.passUntil(() => source.said.length === 4);
    expect(source.said).toEqual(['fine', 1, expect.stringMatching(/^CachePolicy a3s-box is gone, .*delete the DaemonSet cachepolicy-a3s-box/), '1, not in force']);
    tell(source.server, text(1));
    await source.clock.passUntil(() => source.said.length === 6);
    expect(source.said.slice(4)).toEqual(['fine', 1]);
  });

  it('evicts nothing where the agent starts beside a ConfigMap without an owner', async () => {
    await using source = await startSource({ before: (server) => server.put(collection, configMap('cachepolicy-a3s-box', { 'policy.json': text(1) })) });
    await source.clock.passUntil(() => source.said.length > 0);
    expect(source.said).toEqual([expect.stringMatching(/^CachePolicy a3s-box is gone/)]);
  });

  it('is fine again where what could not be read is taken back', async () => {
    await using source = await startSource({ before: (server) => tell(server, text(1)) });
    await source.clock.passUntil(() => source.said.includes(1));
    tell(source.server, text(2, { formatVersion: 9 }));
    tell(source.server, text(1));
    await source.clock.passUntil(() => source.said.length === 4);
    expect(source.said).toEqual(['fine', 1, 'the compiled policy has format 9; this agent reads 1 and 2', 'fine']);
  });

  it('is said to be unreadable with whose it is, where nothing was ever in force', async () => {
    await using source = await startSource({ before: (server) => tell(server, text(7, { formatVersion: 3, caches: 'otherwise' })) });
    await source.clock.passUntil(() => source.said.length === 1);
    expect(source.subjects).toEqual([{ name: 'a3s-box', uid: 'uid-1', generation: 7 }]);
  });

  it('stays in force when its ConfigMap is emptied', async () => {
    await using source = await startSource({ before: (server) => tell(server, text(1)) });
    await source.clock.passUntil(() => source.said.includes(1));
    source.server.put(collection, owned());
    await source.clock.pass(60 * second);
    expect(source.said).toEqual(['fine', 1]);
  });
});

describe.concurrent('the mounted copy of the policy', () => {
  it.each([
    ['answers nothing', hang],
    ['is too busy', busy(429, 5)],
    ['fails', status(500, 'InternalError')],
  ])('is used after half a minute in which the API server %s, and not before; then what that says', async (_, act) => {
    await using source = await startSource({ mounted: text(4), before: (server) => (tell(server, text(5)), server.cue('list', act, 1_000)) });
    await source.clock.pass(29 * second);
    expect(source.said).toEqual([]);
    await source.clock.passUntil(() => source.said.includes(4), 3 * second);
    source.server.behave();
    await source.clock.passUntil(() => source.said.includes(5), 120 * second);
    expect(source.said).toEqual(['fine', 4, 'fine', 5]);
  });

  it('is told again with certainty where the API server has the same', async () => {
    await using source = await startSource({ mounted: text(4), before: (server) => (tell(server, text(4)), server.cue('list', hang, 1_000)) });
    await source.clock.passUntil(() => source.origins.length === 1, 40 * second);
    source.server.behave();
    await source.clock.passUntil(() => source.origins.length === 2, 120 * second);
    expect(source.origins).toEqual(['Copy', 'Source']);
  });

  it('is not asked for where the API server says that there is no policy', async () => {
    await using source = await startSource({ mounted: text(4) });
    await source.clock.pass(120 * second);
    expect(source.said).toEqual([]);
  });

  it('that is missing or unreadable is waited for no longer: the API server is', async () => {
    for (const mounted of [undefined, text(4, { formatVersion: 3 })]) {
      await using source = await startSource({ ...(mounted && { mounted }), before: (server) => (tell(server, text(5)), server.cue('list', hang, 1_000)) });
      await source.clock.pass(60 * second);
      source.server.behave();
      await source.clock.passUntil(() => source.said.includes(5), 120 * second);
      expect(source.said.filter((each) => typeof each === 'number')).toEqual([5]);
    }
  });
});
