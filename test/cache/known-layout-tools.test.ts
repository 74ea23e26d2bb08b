import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCacheRoot } from '../../src/cache/cache-root.ts';
import { openFormat } from '../../src/cache/formats/registry.ts';
import { scratchDir } from '../disk/scratch.ts';

const has = (tool: string, ...args: string[]) => spawnSync(tool, args, { stdio: 'pipe' }).status === 0;

/** `served`, or the words by which a `directory` cache of that path is refused. */
function judged(root: string, path: string): string {
  try {
    openCacheRoot(join(root, path), openFormat('directory'), { allowedRoots: [root] })[Symbol.dispose]();
    return 'served';
  } catch (error) {
    return (error as Error).message.replaceAll(`${root}/`, '');
  }
}

test.runIf(has('go', 'version'))('the caches that go itself makes, offline, are known, and the folders of module versions are served', () => {
  const root = scratchDir();
  // A proxy in a folder, with one module of one file.
  const proxy = join(root, 'proxy', 'example.org', 'team', 'lib', '@v');
  mkdirSync(proxy, { recursive: true });
  writeFileSync(join(proxy, 'v1.0.0.info'), '{"Version":"v1.0.0","Time":"2026-01-01T00:00:00Z"}');
  writeFileSync(join(proxy, 'v1.0.0.mod'), 'module example.org/team/lib\n');
  const source = join(root, 'source', 'example.org', 'team', 'lib@v1.0.0');
  mkdirSync(source, { recursive: true });
  for (const [name, text] of [['go.mod', 'module example.org/team/lib\n'], ['lib.go', 'package lib\n']] as const) writeFileSync(join(source, name), text);
  execFileSync('python3', ['-c', 'import sys,zipfile,os\nz=zipfile.ZipFile(sys.argv[1],"w")\nfor n in ("go.mod","lib.go"): z.write(os.path.join(sys.argv[2],n),"example.org/team/lib@v1.0.0/"+n)', join(proxy, 'v1.0.0.zip'), source]);
  const env = {
    ...process.env, HOME: root, GOPATH: join(root, 'go'), GOMODCACHE: join(root, 'go', 'pkg', 'mod'), GOCACHE: join(root, 'build'), GOPROXY: `file://${join(root, 'proxy')}`,
    GOSUMDB: 'off', GOTOOLCHAIN: 'local',
  };
  execFileSync('go', ['mod', 'download', 'example.org/team/lib@v1.0.0'], { cwd: source, env, stdio: 'pipe' });
  execFileSync('go', ['build', '.'], { cwd: source, env, stdio: 'pipe' });
  expect(judged(root, 'go')).toMatch(/^go is the path of Go/);
  expect(judged(root, 'go/pkg/mod')).toMatch(/^go\/pkg\/mod is the module cache of Go/);
  expect(judged(root, 'go/pkg/mod/cache/download')).toMatch(/lies inside the module cache of Go/);
  expect([judged(root, 'go/pkg/mod/example.org/team'), readdirSync(join(root, 'go/pkg/mod/example.org/team'))]).toEqual(['served', ['lib@v1.0.0']]);
  expect(judged(root, 'build')).toMatch(/^build is the build cache of Go/);
  expect(judged(root, `build/${readdirSync(join(root, 'build'))[0]}`)).toMatch(/lies inside the build cache of Go/);
});

test.runIf(has('npm', '--version'))('the cache that npm itself makes, offline, is known at each level', () => {
  const root = scratchDir();
  mkdirSync(join(root, 'package'));
  writeFileSync(join(root, 'package', 'package.json'), '{"name":"x","version":"1.0.0"}');
  execFileSync('tar', ['-czf', 'x-1.0.0.tgz', 'package'], { cwd: root });
  execFileSync('npm', ['cache', 'add', join(root, 'x-1.0.0.tgz'), '--cache', join(root, 'npm'), '--offline', '--no-update-notifier'], { cwd: root, env: { ...process.env, HOME: root }, stdio: 'pipe' });
  expect(judged(root, 'npm')).toMatch(/^npm is the cache of npm/);
  expect(judged(root, 'npm/_cacache')).toMatch(/^npm\/_cacache is the cache of npm/);
  expect(judged(root, 'npm/_cacache/content-v2')).toMatch(/lies inside the cache of npm/);
});
