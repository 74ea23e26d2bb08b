import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { images, rootfsKeys } from '../fixtures/homes.ts';
import { Machine } from './machine.ts';

let machine: Machine;
let home: string;
let cacheDir: string;

/** A runtime that was told to keep its cache apart from its home. */
beforeEach(() => {
  machine = new Machine();
  home = machine.home();
  cacheDir = join(machine.allowedRoot, 'apart');
  renameSync(join(home, 'cache'), cacheDir);
});

afterEach(() => machine[Symbol.dispose]());

function policy(but: { cacheDir?: string; maxEntries?: number } = {}): string {
  const { cacheDir: dir = cacheDir, maxEntries = 0 } = but;
  return machine.write('policy.yaml', `apiVersion: cache.a3s.dev/v1alpha1
kind: CachePolicy
metadata: {name: apart}
spec:
  caches:
  - name: rootfs
    a3sBox:
      home: ${home}
      cacheDir: ${dir}
      store: Rootfs
    limits: {maxEntries: ${maxEntries}}
`);
}

const prune = (file: string) => machine.run('prune', '--settle', '0s', '-f', file);
const standing = () => images.filter((image) => existsSync(join(cacheDir, 'rootfs', `${rootfsKeys[image]}.meta.json`)));

describe('a cache apart from its home', () => {
  it('is pruned there, but for what the boxes of the home use', async () => {
    const { code, stderr } = await prune(policy());
    expect({ code, stderr, standing: standing() }).toEqual({ code: 3, stderr: expect.any(String) as string, standing: ['redis:8'] });
    expect(readdirSync(home)).toEqual(['boxes']);
  });

  it('stays whole where the boxes of the home cannot be read', async () => {
    rmSync(join(home, 'boxes'), { recursive: true });
    const { code, stdout } = await prune(policy());
    expect(code).toBe(1);
    expect(stdout).toContain(`${home}/boxes does not exist`);
    expect(standing()).toEqual(images);
  });

  it('is named by entry commands, too', async () => {
    const entry = (command: string, ...args: string[]) => machine.run('entry', command, ...args, '--home', home, '--cache-dir', cacheDir, '--store', 'rootfs');
    expect((await entry('list')).stdout.trimEnd().split('\n')).toHaveLength(1 + images.length);
    expect(await entry('invalidate', rootfsKeys['redis:8'])).toMatchObject({ code: 1, stderr: expect.stringContaining('is in use: box box-1') as string });
    expect((await machine.run('entry', 'list', '--home', home, '--store', 'rootfs')).stderr).toMatch(/^--home: .*does not exist/);
    expect((await machine.run('entry', 'list', '--home', home, '--cache-dir', '/etc', '--store', 'rootfs')).stderr).toMatch(/^--cache-dir: .*allowed root/);
    expect((await machine.run('entry', 'list', '--cache-dir', cacheDir, '--store', 'rootfs')).code).toBe(2);
  });
});

describe('in one line, before anything is touched, is refused a cacheDir', () => {
  const refused = async (dir: string) => {
    const { code, stderr } = await prune(policy({ cacheDir: dir }));
    expect({ code, standing: standing() }).toEqual({ code: 2, standing: images });
    return stderr;
  };

  it('outside the allowed roots', async () => {
    expect(await refused('/etc/a3s')).toMatch(/policy\.yaml:9: spec\.caches\[0\]\.a3sBox\.cacheDir: \/etc\/a3s is not strictly below an allowed root/);
  });

  it('that leads out of them by a link', async () => {
    mkdirSync(join(machine.dir, 'elsewhere/rootfs'), { recursive: true });
    symlinkSync(join(machine.dir, 'elsewhere'), join(machine.allowedRoot, 'link'));
    expect(await refused(join(machine.allowedRoot, 'link'))).toMatch(/policy\.yaml:9: spec\.caches\[0\]\.a3sBox\.cacheDir: .*\/link is a symbolic link/);
  });

  it('with a way up', async () => {
    expect(await refused(`${machine.allowedRoot}/../apart`)).toMatch(/policy\.yaml:9: .*cacheDir must be an absolute path/);
  });
});
