import { appendFileSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Machine } from './machine.ts';

/** More than an agent measures in one look; the folder that is written below comes behind them. */
const manyFiles = 5_200;

/**
 * A machine on which a prune has measured a folder of very many files and a small one, and in which the small one has grown since, deep inside,
 * so that nothing on its own folder shows it.
 */
async function machineWithOldFigures(limits: string): Promise<{ machine: Machine; path: string; file: string }> {
  const machine = Machine.forTest();
  const path = join(machine.allowedRoot, 'models');
  mkdirSync(join(path, 'many', 'shards'), { recursive: true });
  for (let i = 0; i < manyFiles; i += 1) writeFileSync(join(path, 'many', 'shards', `${i}`), '');
  mkdirSync(join(path, 'small', 'shards'), { recursive: true });
  writeFileSync(join(path, 'small', 'shards', 'weights'), 'x');
  const at = Date.now() / 1000 - 7_200;
  for (const each of ['many/shards', 'many', 'small/shards/weights', 'small/shards', 'small']) utimesSync(join(path, each), at, at);
  for (let i = 0; i < manyFiles; i += 1) utimesSync(join(path, 'many', 'shards', `${i}`), at, at);
  const file = machine.directoryPolicy({ path, limits, minIdle: '0s' });
  expect(await machine.run('prune', '-f', file, '--settle', '0s', '--rest', '0s')).toMatchObject({ code: 0, stdout: expect.stringContaining('evicted 0 entries') });
  appendFileSync(join(path, 'small', 'shards', 'weights'), Buffer.alloc(3 * 2 ** 20, 1));
  utimesSync(join(path, 'small', 'shards', 'weights'), at, at);
  return { machine, path, file };
}

test('a command that runs once goes by what is there now, not by what an earlier run measured', async () => {
  const { machine, path, file } = await machineWithOldFigures('{maxBytes: 2Mi}');
  const stats = JSON.parse((await machine.run('stats', '-f', file, '-o', 'json')).stdout) as { caches: { stats: { totalBytes: number } }[] };
  expect(stats.caches[0]?.stats.totalBytes).toBeGreaterThan(3 * 2 ** 20);
  expect((await machine.run('plan', '-f', file)).stdout).toMatch(/would evict [12] entr/);
  expect((await machine.run('explain', '-f', file)).stdout).toMatch(/^small +3Mi .* evict +MaxBytes/m);
  expect((await machine.run('entry', 'list', '-f', file)).stdout).toMatch(/^small +3Mi/m);
  const prune = await machine.run('prune', '-f', file, '--settle', '0s', '--rest', '0s');
  expect(prune).toMatchObject({ code: 0, stdout: expect.not.stringContaining('cannot be met') });
  expect(readdirSync(path).filter((name) => !name.startsWith('.'))).not.toContain('small');
});
