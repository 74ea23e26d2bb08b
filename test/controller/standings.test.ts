import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import type { PolicyObject } from '../../src/controller/admission.ts';
import { Standings } from '../../src/controller/standings.ts';
import { Store } from '../../src/kube/store.ts';
import { silentLog } from '../../src/observe/log.ts';
import { aDirectorySpec, allowedRoots, aPolicy } from './builders.ts';

let policies: Store<PolicyObject>;
let roots: readonly string[];
let runningAgents: number;
let decided: string[];
let standings: Standings;
let version = 0;

beforeEach(() => {
  policies = new Store({ log: silentLog });
  roots = allowedRoots;
  runningAgents = 0;
  decided = [];
  standings = new Standings({ policies, allowedRoots: () => roots, runningAgents: () => runningAgents, onDecided: (name) => decided.push(name) });
});

/** A policy of directories, created at this second. */
function made(second: number, paths: readonly string[], metadata: Partial<PolicyObject['metadata']> = {}): PolicyObject {
  const caches = paths.map((path, i) => aDirectorySpec({ name: `c${i}`, path }));
  return aPolicy({ caches }, { name: `p${second}`, uid: `uid-${second}`, creationTimestamp: new Date(Date.UTC(2026, 0, 1) + second * 1_000).toISOString(), resourceVersion: String((version += 1)), ...metadata });
}

async function shows(...objects: PolicyObject[]): Promise<string[]> {
  for (const object of objects) policies.apply({ type: 'MODIFIED', object });
  return decidedNow();
}

async function decidedNow(): Promise<string[]> {
  await standings.settled();
  return decided.splice(0);
}

const winnerOver = (name: string) => standings.of(policies.get(name)!)?.winner?.metadata.name;

describe('a change of one policy among many', () => {
  it('calls for a reconcile of that policy, and of no policy whose outcome stays', async () => {
    await shows(...Array.from({ length: 50 }, (_, i) => made(i, [`/var/cache/${i}`])));
    expect(await shows(made(7, ['/var/cache/elsewhere'], { generation: 2 }))).toEqual(['p7']);
    expect(await shows(made(7, ['/var/cache/elsewhere'], { generation: 2 }))).toEqual([]);
  });

  it('calls for a reconcile of those that it takes directories from, before its own', async () => {
    await shows(made(1, ['/var/cache/a']), made(2, ['/var/cache/b']), made(3, ['/var/cache/c']));
    expect(await shows(made(1, ['/var/cache/a', '/var/cache/b', '/var/cache/c'], { generation: 2 }))).toEqual(['p2', 'p3', 'p1']);
    expect([winnerOver('p1'), winnerOver('p2'), winnerOver('p3')]).toEqual([undefined, 'p1', 'p1']);
  });

  it('is decided also where it comes while the decision before is just made', async () => {
    const late = made(2, ['/var/cache/b']);
    const onDecided = () => queueMicrotask(() => policies.apply({ type: 'MODIFIED', object: late }));
    const beside = new Standings({ policies, allowedRoots: () => roots, runningAgents: () => 0, onDecided });
    policies.apply({ type: 'MODIFIED', object: made(1, ['/var/cache/a']) });
    await beside.settled();
    await nextTurn();
    await beside.settled();
    expect(beside.of(late)).toBeDefined();
    beside.end();
  });

  it('calls for a reconcile of what comes into force when it goes', async () => {
    await shows(made(1, ['/var/cache/a']), made(2, ['/var/cache/a/b']), made(3, ['/var/cache/c']));
    policies.apply({ type: 'DELETED', object: made(1, ['/var/cache/a']) });
    expect(await decidedNow()).toEqual(['p1', 'p2']);
    expect(winnerOver('p2')).toBeUndefined();
  });

  it('leaves its new spec without a decision until that spec is decided', async () => {
    await shows(made(1, ['/var/cache/a']), made(2, ['/var/cache/b']));
    const changed = made(2, ['/var/cache/a'], { generation: 2 });
    policies.apply({ type: 'MODIFIED', object: changed });
    expect(standings.of(changed)).toBeUndefined();
    await standings.settled();
    expect(standings.of(changed)?.winner?.metadata.name).toBe('p1');
  });

  it('takes no directory from another policy once it is refused by itself', async () => {
    await shows(made(1, ['/var/cache/a']), made(2, ['/var/cache/a']));
    expect(await shows(made(1, ['/var/cache/a', '/etc/a'], { generation: 2 }))).toEqual(['p1', 'p2']);
    expect(standings.of(policies.get('p1')!)?.assessment.refusal).toMatchObject({ reason: 'PathNotAllowed' });
    expect(winnerOver('p2')).toBeUndefined();
  });
});

describe('a change of the allowed roots', () => {
  it('calls for a reconcile of every policy, and decides again which govern', async () => {
    await shows(made(1, ['/var/cache/a', '/srv/a']), made(2, ['/var/cache/a']));
    expect(winnerOver('p2')).toBeUndefined();
    roots = [...allowedRoots, '/srv'];
    standings.allowedRootsChanged();
    expect((await decidedNow()).toSorted()).toEqual(['p1', 'p2']);
    expect(winnerOver('p2')).toBe('p1');
  });
});

describe('a policy under deletion', () => {
  const deletionTimestamp = '2026-01-02T00:00:00Z';

  it('keeps what its agents have, whatever its spec is changed to with or after the deletion: no agent learns of that', async () => {
    runningAgents = 1;
    await shows(made(1, ['/var/cache/a']), made(2, ['/var/cache/b']), made(3, ['/var/cache/a']));
    await shows(made(2, ['/var/cache/a'], { generation: 3, deletionTimestamp }));
    await shows(made(4, ['/var/cache/b']));
    expect([winnerOver('p1'), winnerOver('p3'), winnerOver('p4')]).toEqual([undefined, 'p1', 'p2']);
    await shows(made(2, ['/var/cache/c'], { generation: 4, deletionTimestamp }));
    expect([winnerOver('p1'), winnerOver('p3'), winnerOver('p4')]).toEqual([undefined, 'p1', 'p2']);
  });

  it('keeps its directories until the last of its agents has ended', async () => {
    runningAgents = 1;
    await shows(made(1, ['/var/cache/a']), made(2, ['/var/cache/a']));
    expect(await shows(made(1, ['/var/cache/a'], { deletionTimestamp }))).toEqual(['p2', 'p1']);
    expect(standings.of(policies.get('p2')!)?.winner?.metadata).toMatchObject({ name: 'p1', deletionTimestamp });
    runningAgents = 0;
    standings.agentsChanged('p1');
    expect(await decidedNow()).toEqual(['p1', 'p2']);
    expect(winnerOver('p2')).toBeUndefined();
  });

  it('keeps them also from an older policy that names them only then', async () => {
    runningAgents = 1;
    await shows(made(1, ['/var/cache/b']), made(2, ['/var/cache/a'], { deletionTimestamp }));
    await shows(made(1, ['/var/cache/a'], { generation: 2 }));
    expect(winnerOver('p1')).toBe('p2');
  });

  it('keeps them also where their allowed root was taken away meanwhile: its agents do not hear of it', async () => {
    runningAgents = 1;
    await shows(made(1, ['/var/cache/a'], { deletionTimestamp }), made(2, ['/var/cache/a/b']));
    roots = ['/var/cache/a'];
    standings.allowedRootsChanged();
    await standings.settled();
    expect(standings.of(policies.get('p2')!)?.winner?.metadata.name).toBe('p1');
  });

  it('that was not in force keeps nothing', async () => {
    runningAgents = 1;
    const refused = { type: 'Accepted' as const, status: 'False' as const, reason: 'Conflicted', message: '', lastTransitionTime: deletionTimestamp };
    await shows({ ...made(1, ['/var/cache/a'], { deletionTimestamp }), status: { conditions: [refused] } }, made(2, ['/var/cache/a']));
    expect(winnerOver('p2')).toBeUndefined();
  });
});

describe('a policy that no schema would let through', () => {
  it('fails by itself, and every other policy is decided', async () => {
    const neither = made(1, ['/var/cache/a']);
    delete neither.spec.caches[0]!.directory;
    expect(await shows(neither, made(2, ['/var/cache/a']))).toEqual(['p1', 'p2']);
    expect(() => standings.of(policies.get('p1')!)).toThrow(/not exactly one of a3sBox and directory/);
    expect(winnerOver('p2')).toBeUndefined();
  });
});

describe('a decision about a thousand policies of sixteen caches', () => {
  it('yields to timers and sockets, and stops at end()', async () => {
    const all = Array.from({ length: 1_000 }, (_, n) => {
      const policy = made(n, Array.from({ length: 16 }, (_each, i) => `/var/cache/${i}`));
      return { ...policy, spec: { ...policy.spec, nodeSelector: { node: String(n) } } };
    });
    for (const object of all) policies.apply({ type: 'ADDED', object });
    let settled = false;
    const settling = standings.settled().then(() => (settled = true));
    let turns = 0;
    for (; !settled; turns += 1) await nextTurn();
    await settling;
    expect(turns).toBeGreaterThan(10);
    expect(decided.length).toBe(1_000);

    standings.allowedRootsChanged();
    standings.end();
    await standings.settled();
    expect(decided.length).toBe(1_000);
  });
});
