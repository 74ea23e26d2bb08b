import { describe, expect, it } from 'vitest';

import { compareResourceVersions } from '../../src/kube/objects.ts';
import { Store } from '../../src/kube/store.ts';
import { configMap, recordedLog } from './rig.ts';
import type { ConfigMap } from './rig.ts';

function at(version: number, name: string, v = '1'): ConfigMap {
  const object = configMap(name, { v });
  return { ...object, metadata: { ...object.metadata, uid: `uid-${name}`, resourceVersion: String(version) } };
}

async function* pages(...all: ConfigMap[][]): AsyncGenerator<ConfigMap[]> {
  yield* all;
}

function start(trim?: (object: ConfigMap) => ConfigMap) {
  const { log, lines } = recordedLog();
  const store = new Store<ConfigMap>({ log, ...(trim !== undefined && { trim }) });
  const told: string[] = [];
  const unsubscribe = store.subscribe({
    added: ({ metadata }) => void told.push(`+${metadata.name}`),
    updated: ({ metadata }) => void told.push(`~${metadata.name}`),
    deleted: ({ metadata }) => void told.push(`-${metadata.name}`),
  });
  return { store, told, lines, unsubscribe };
}

describe('a store', () => {
  it('has synced with the end of the first list, not before', async () => {
    const { store } = start();
    let synced = false;
    void store.synced.then(() => (synced = true));
    const failing = async function* () {
      yield [at(1, 'a')];
      throw new Error('the second page is gone');
    };
    await expect(store.replace(failing())).rejects.toThrow('gone');
    expect([store.hasSynced, store.size, synced]).toEqual([false, 1, false]);
    await store.replace(pages([]));
    await store.synced;
    expect([store.hasSynced, store.size]).toEqual([true, 0]);
  });

  it('tells on a list only what differs, and what is no longer there as deleted', async () => {
    const { store, told } = start();
    await store.replace(pages([at(1, 'a'), at(2, 'b')], [at(3, 'c')]));
    told.length = 0;
    await store.replace(pages([at(1, 'a'), at(5, 'b'), at(6, 'd')]));
    expect(told).toEqual(['~b', '+d', '-c']);
  });

  it('keeps what came beside a list and is younger than that', async () => {
    const { store, told } = start();
    await store.replace(pages([at(1, 'a'), at(2, 'b')]));
    told.length = 0;
    const list = async function* () {
      yield [at(1, 'a')];
      store.apply({ type: 'MODIFIED', object: at(8, 'young') });
      yield [];
    };
    await store.replace(list());
    expect(told).toEqual(['+young', '-b']);
    // The next list knows of it, or it is gone.
    await store.replace(pages([at(1, 'a')]));
    expect(told.slice(2)).toEqual(['-young']);
  });

  it('takes a list as the truth, even an older one', async () => {
    const { store, told } = start();
    await store.replace(pages([at(50, 'a', 'new')]));
    await store.replace(pages([at(7, 'a', 'restored')]));
    expect(told).toEqual(['+a', '~a']);
    expect(store.get('default/a')?.data?.['v']).toBe('restored');
  });

  it('does not bring back what was deleted by a late event, but takes what is made again', async () => {
    const { store, told } = start();
    await store.replace(pages([at(1, 'a')]));
    store.apply({ type: 'DELETED', object: at(9, 'a') });
    store.apply({ type: 'MODIFIED', object: at(8, 'a') });
    store.apply({ type: 'ADDED', object: at(10, 'a') });
    expect(told).toEqual(['+a', '-a', '+a']);
  });

  it('does not bring it back for an answer that was on its way while a bookmark came either', async () => {
    const { store, told } = start();
    const bookmark = (resourceVersion: string) => store.apply({ type: 'BOOKMARK', object: { metadata: { resourceVersion } } });
    await store.replace(pages([at(1, 'a')]));
    store.apply({ type: 'DELETED', object: at(9, 'a') });
    bookmark('10');
    store.apply({ type: 'MODIFIED', object: at(8, 'a') });
    expect(told).toEqual(['+a', '-a']);
    // Versions are not remembered for ever.
    bookmark('11');
    store.apply({ type: 'MODIFIED', object: at(8, 'a') });
    expect(told).toEqual(['+a', '-a', '+a']);
  });

  it('takes a deletion that carries the version of the object itself', async () => {
    const { store, told } = start();
    await store.replace(pages([at(1, 'a')]));
    store.apply({ type: 'DELETED', object: at(1, 'a') });
    expect(told).toEqual(['+a', '-a']);
  });

  it('tells a new subscriber what is there, and a former one nothing', async () => {
    const { store, told, unsubscribe } = start();
    await store.replace(pages([at(1, 'a'), at(2, 'b')]));
    const late: string[] = [];
    store.subscribe({ added: ({ metadata }) => void late.push(metadata.name) });
    unsubscribe();
    store.apply({ type: 'ADDED', object: at(3, 'c') });
    expect(late).toEqual(['a', 'b', 'c']);
    expect(told).toEqual(['+a', '+b']);
  });

  it('tells the others when one handler throws', async () => {
    const { store, lines } = start();
    store.subscribe({
      added: () => {
        throw new Error('broken');
      },
    });
    const others: string[] = [];
    store.subscribe({ added: ({ metadata }) => void others.push(metadata.name) });
    await store.replace(pages([at(1, 'a')]));
    expect(others).toEqual(['a']);
    expect(lines).toMatchObject([{ level: 'error', object: 'default/a', err: { message: 'broken' } }]);
  });

  it('keeps what trim leaves', async () => {
    const { store } = start(({ apiVersion, kind, metadata }) => ({ apiVersion, kind, metadata }));
    const object = at(1, 'a');
    object.metadata.managedFields = [{}];
    await store.replace(pages([object]));
    expect(store.get('default/a')).toEqual({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'default', uid: 'uid-a', resourceVersion: '1' } });
    expect([...store.values()]).toHaveLength(1);
  });
});

describe('resource versions', () => {
  it('are compared as numbers of any length', () => {
    expect(compareResourceVersions('9', '10')).toBeLessThan(0);
    expect(compareResourceVersions('90071992547409931', '90071992547409929')).toBeGreaterThan(0);
    expect(compareResourceVersions('5', '5')).toBe(0);
  });

  it('are in no order where one is no number', () => {
    for (const [a, b] of [[undefined, '1'], ['1', undefined], ['x', '1'], ['1', ''], ['-1', '1']]) expect(compareResourceVersions(a, b)).toBe(0);
  });
});
