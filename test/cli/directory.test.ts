import { closeSync, mkdirSync, openSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Machine } from './machine.ts';

/** A machine with three models of 64Ki, 5 hours to 1 hour old, and a policy of theirs. */
function machineWithModels(limits: string): { machine: Machine; path: string; file: string } {
  const machine = Machine.forTest();
  const path = join(machine.allowedRoot, 'models');
  mkdirSync(path);
  for (const [name, hours] of [['llama.gguf', 5], ['mistral.gguf', 3], ['phi.gguf', 1]] as const) {
    writeFileSync(join(path, name), Buffer.alloc(65_536, 1));
    const at = Date.now() / 1000 - hours * 3600 - 60;
    utimesSync(join(path, name), at, at);
  }
  return { machine, path, file: writePolicy(machine, path, limits) };
}

function writePolicy(machine: Machine, path: string, limits: string): string {
  return machine.write('models.yaml', `apiVersion: cache.a3s.dev/v1alpha1
kind: CachePolicy
metadata:
  name: models
spec:
  caches:
  - name: models
    directory: {path: ${path}}
    limits: ${limits}
`);
}

function open(path: string): void {
  const fd = openSync(path, 'r');
  onTestFinished(() => closeSync(fd));
}

describe('a directory on the command line', () => {
  it('is explained by names, sizes on the disk and last uses', async () => {
    const { machine, path, file } = machineWithModels('{maxBytes: 130Ki}');
    open(join(path, 'llama.gguf'));
    mkdirSync(join(path, '.hidden'));
    const { code, stdout, stderr } = await machine.run('explain', '-f', file);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.replaceAll(machine.allowedRoot, '/allowed')).toMatch(/^models {2}\/allowed\/models\nKEY +SIZE +USED +VERDICT +REASON\n/);
    expect(stdout).toMatch(/^llama\.gguf +64Ki +0s ago +keep +InUse: a process that has llama\.gguf open$/m);
    expect(stdout).toMatch(/^mistral\.gguf +64Ki +3h1m ago +evict +MaxBytes: /m);
  });

  it('is planned and pruned the same, and what is open stays, also without a time in which it is protected', async () => {
    const { machine, path, file } = machineWithModels('{maxEntries: 0}\n    protect: {minIdle: 0s}');
    open(join(path, 'llama.gguf'));
    const plan = await machine.run('plan', '-f', file);
    expect(plan.stdout).toContain('would evict 2 entries, 128Ki; held: 1 in use, 0 kept, 0 recent');
    const prune = await machine.run('prune', '-f', file, '--settle', '0s', '--rest', '0s');
    expect(prune.code).toBe(3);
    expect(readdirSync(path).filter((name) => !name.startsWith('.'))).toEqual(['llama.gguf']);
    expect((await machine.run('stats', '-f', file, '-o', 'json')).stdout).toContain('"entryCount": 1');
  });

  it('loses nothing to maxBytes while one entry that is in use is larger than that', async () => {
    const { machine, path, file } = machineWithModels('{maxBytes: 150Ki}\n    protect: {minIdle: 0s}');
    writeFileSync(join(path, 'served.gguf'), Buffer.alloc(200_000, 1));
    open(join(path, 'served.gguf'));
    const prune = await machine.run('prune', '-f', file, '--settle', '0s', '--rest', '0s');
    expect(prune.code).toBe(3);
    expect(prune.stdout).toMatch(/evicted 0 entries, 0; held: 1 in use, 0 kept, 0 recent\n {2}MaxBytes cannot be met: 196Ki of 150Ki are protected, so nothing is evicted for it\n/);
    expect(readdirSync(path).filter((name) => !name.startsWith('.'))).toEqual(['llama.gguf', 'mistral.gguf', 'phi.gguf', 'served.gguf']);
  });

  it('lists entries and removes one, and leaves reading and writing to whoever uses it', async () => {
    const { machine, path, file } = machineWithModels('{maxEntries: 8}');
    expect((await machine.run('entry', 'list', '-f', file)).stdout).toMatch(/^KEY.*\nllama\.gguf .*\nmistral\.gguf .*\nphi\.gguf .*\n$/);
    for (const [command, ...args] of [['get', 'phi.gguf'], ['put', 'x', '/tmp']]) {
      const refused = await machine.run('entry', command ?? '', ...args, '-f', file);
      expect(refused).toEqual({ code: 2, stdout: '', stderr: `entry ${command}: models is a plain directory; read and write ${path} itself\n` });
    }
    open(join(path, 'phi.gguf'));
    expect(await machine.run('entry', 'invalidate', 'phi.gguf', '-f', file, '--settle', '0s')).toMatchObject({ code: 1, stderr: expect.stringContaining('phi.gguf is in use: a process that has phi.gguf open') });
    expect(await machine.run('entry', 'invalidate', 'llama.gguf', '-f', file, '--settle', '0s')).toMatchObject({ code: 0, stderr: '' });
    expect(readdirSync(path).filter((name) => !name.startsWith('.'))).toEqual(['mistral.gguf', 'phi.gguf']);
  });

  it.each(['plan', 'prune', 'explain', 'stats'])('is wrong input of %s where it is a store of another shape, and nothing is touched', async (command) => {
    const { machine, path, file } = machineWithModels('{maxEntries: 0}\n    protect: {minIdle: 0s}');
    mkdirSync(join(path, 'blobs', 'aa'), { recursive: true });
    writeFileSync(join(path, 'blobs', '.huggingface-shared-blobs'), '1\n');
    const before = machine.listing();
    const { code, stderr, stdout } = await machine.run(command, '-f', file);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^\S*models\.yaml:8: spec\.caches\[0\]\.directory\.path: \S+models is a Hugging Face hub whose models share their weights in blobs\/: this layout is not supported yet; .*; nothing is evicted there; name the directory that the message proposes, or leave the cache out\n$/);
    expect(machine.listing()).toEqual(before);
  });

  it.each([
    ['is missing', 'nowhere', /models\.yaml:8: spec\.caches\[0\]\.directory\.path: .*nowhere does not exist; the cache is taken up/],
    ['stands beside the home of a runtime', 'beside/models', /models\.yaml:8: spec\.caches\[0\]\.directory\.path: .*stands beside what looks like the home of an A3S Box runtime, .*home .*; give the cache a directory away/],
    ['holds the home of a runtime', 'beside', /models\.yaml:8: spec\.caches\[0\]\.directory\.path: .*holds what looks like the home/],
  ])('is wrong input where it %s, and nothing is touched', async (_, path, message) => {
    const { machine } = machineWithModels('{maxEntries: 0}');
    for (const part of ['home/boxes', 'home/cache', 'models']) mkdirSync(join(machine.allowedRoot, 'beside', part), { recursive: true });
    const file = writePolicy(machine, join(machine.allowedRoot, path), '{maxEntries: 0}');
    const before = machine.listing();
    const { code, stderr } = await machine.run('prune', '-f', file);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(machine.listing()).toEqual(before);
  });
});
