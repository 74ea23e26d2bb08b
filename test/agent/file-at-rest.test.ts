import { appendFileSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { loadAtRest, markOf } from '../../src/agent/file-at-rest.ts';
import { scratchDir } from '../disk/scratch.ts';

let file: string;
let loads: number;
let waits: number;

beforeEach(() => {
  file = join(scratchDir(), 'policy.yaml');
  loads = 0;
  waits = 0;
});

const load = async () => {
  loads += 1;
  return await readFile(file, 'utf8');
};

it('a file that is still being written is loaded again until it has come to rest', async () => {
  writeFileSync(file, 'limits');
  const rest = ['\npins: [a', ', b', ']'];
  const wait = async () => {
    waits += 1;
    appendFileSync(file, rest.shift() ?? '');
  };
  const { loaded, mark } = await loadAtRest(file, load, { wait });
  expect(loaded).toBe('limits\npins: [a, b]');
  expect({ loads, waits }).toEqual({ loads: 4, waits: 4 });
  expect(mark).toBe(markOf(file));
});

it('a file that changes while it is loaded is loaded again, however long it had rested before', async () => {
  writeFileSync(file, 'half');
  utimesSync(file, 1, 1);
  const { loaded } = await loadAtRest(file, async () => {
    const text = await load();
    if (loads === 1) appendFileSync(file, ' and half');
    return text;
  }, { wait: async () => {} });
  expect(loaded).toBe('half and half');
});

it('nobody waits for a file that has rested, or for what is no file', async () => {
  writeFileSync(file, 'whole');
  utimesSync(file, 1, 1);
  const wait = async () => void (waits += 1);
  expect(await loadAtRest(file, load, { wait })).toMatchObject({ loaded: 'whole' });
  // As standard input, it can be read only once.
  expect(await loadAtRest('-', load, { wait })).toMatchObject({ loaded: readFileSync(file, 'utf8') });
  expect({ loads, waits }).toEqual({ loads: 2, waits: 0 });
});
