import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCacheRoot } from '../../src/cache/cache-root.ts';
import { openFormat } from '../../src/cache/formats/registry.ts';
import { Cache } from '../../src/cache/pass.ts';
import type { OperatorError } from '../../src/errors.ts';
import { layouts } from '../../src/policy/layouts.ts';
import { noLimits, noProtection } from '../../src/policy/limits.ts';
import { scratchDir } from '../disk/scratch.ts';

const sha = 'c0ffee'.repeat(11).slice(0, 64);

/** Files, folders (with a slash at the end) and links (`from -> to`), as they lie below an allowed root. */
function laidOut(paths: readonly string[]): string {
  const root = scratchDir();
  for (const path of paths) {
    const [name = '', target] = path.split(' -> ');
    mkdirSync(dirname(join(root, name)), { recursive: true });
    if (target !== undefined) symlinkSync(target, join(root, name));
    else if (name.endsWith('/')) mkdirSync(join(root, name), { recursive: true });
    else writeFileSync(join(root, name), name);
  }
  return root;
}

/** Why a `directory` cache of that path is refused, without the allowed root; undefined where it is not. */
function refusalOf(root: string, path: string): string | undefined {
  try {
    openCacheRoot(join(root, path), openFormat('directory'), { allowedRoots: [root] })[Symbol.dispose]();
    return undefined;
  } catch (error) {
    expect((error as OperatorError).code).toBe('ERR_ROOT_KNOWN_LAYOUT');
    return (error as OperatorError).message.replaceAll(`${root}/`, '');
  }
}

const repository = (name: string, blob = `c/${name}/blobs/${sha}`) => [blob, `c/${name}/refs/main`, `c/${name}/snapshots/abc/w -> ../../blobs/${sha}`];
const sharedHub = ['c/blobs/.huggingface-shared-blobs', `c/blobs/c0/${sha}`, `c/blobs/c0/${sha}.refs`, 'c/CACHEDIR.TAG', ...repository('models--acme--m', `c/models--acme--m/blobs/e -> ../../blobs/c0/${sha}`)];
const classicHub = ['c/version.txt', 'c/.locks/models--acme--m/x.lock', ...repository('models--acme--m'), ...repository('datasets--acme--d')];
const ollama = ['c/models/blobs/sha256-aa', 'c/models/manifests/registry.ollama.ai/library/m/latest'];
const goModules = ['c/cache/download/golang.org/x/text/@v/v0.3.0.zip', 'c/cache/download/sumdb/', 'c/golang.org/x/text@v0.3.0/doc.go', 'c/github.com/a/b@v1.0.0/b.go'];
const hub = (paths: readonly string[]) => paths.map((path) => path.replace(/^c\//, 'c/hub/'));
const cargoIndex = 'index.crates.io-1949cf8c6b5b557f';

/** What lies there, and each path that is refused with the words of its message. */
const refused: readonly (readonly [string, readonly string[], Readonly<Record<string, RegExp>>])[] = [
  ['a Hugging Face hub with shared blobs', sharedHub, {
    c: /^c is a Hugging Face hub whose models share their weights in blobs\/: this layout is not supported yet; clients with HF_HUB_DISABLE_SHARED_BLOBS=1 /,
    'c/blobs': /^c\/blobs lies inside a Hugging Face hub .*, c: this layout is not/,
    'c/blobs/c0': /lies inside a Hugging Face hub/,
    'c/models--acme--m': /is one repository of a Hugging Face hub: this layout is not supported yet; clients with/,
    'c/models--acme--m/blobs': /lies inside one repository/,
    'c/models--acme--m/snapshots/abc': /lies inside one repository/,
  }],
  ['a hub with shared blobs whose marker and repositories are not complete', ['c/blobs/', 'c/spaces--acme--s/snapshots/'], { c: /share their weights/ }],
  ['the folders inside a classic hub', classicHub, {
    'c/models--acme--m': /^c\/models--acme--m is one repository of a Hugging Face hub: its hub is a cache, of which each repository is an entry: name c$/,
    'c/models--acme--m/blobs': /^c\/models--acme--m\/blobs lies inside one .*, c\/models--acme--m: .*: name c$/,
    'c/datasets--acme--d/snapshots': /: name c$/,
  }],
  ['the home of a hub, with a login', [...hub(classicHub), 'c/token', 'c/stored_tokens', 'c/xet/'], { c: /^c is the home of a Hugging Face hub, where its login lies beside the models: its hub\/ alone is a cache: name c\/hub$/ }],
  ['the home of a hub without a login', hub(classicHub), { c: /: name c\/hub$/ }],
  ['the home of a hub with shared blobs', [...hub(sharedHub), 'c/token'], { c: /is the home of .*: this layout is not supported yet; clients with/ }],
  ['a home whose login is a link', ['c/hub/', 'c/token -> /run/secrets/token'], { c: /is the home of a Hugging Face hub/ }],
  ['the folder in which the home of a hub lies', ['c/huggingface/hub/models--a--b/', 'c/huggingface/token', 'c/pip/'], { c: /is the home of a Hugging Face hub/ }],
  ['the models of Ollama', ollama, {
    c: /^c is the home of Ollama/,
    'c/models': /^c\/models is the model store of Ollama, whose models share the files in blobs\/: this layout is not supported yet; remove models with ollama rm$/,
    'c/models/blobs': /^c\/models\/blobs lies inside the model store of Ollama, .*, c\/models: /,
    'c/models/manifests': /lies inside/,
    'c/models/manifests/registry.ollama.ai/library': /lies inside/,
  }],
  ['the models of Ollama on another disk', ['c/models/blobs -> /mnt/blobs', 'c/models/manifests/x'], { 'c/models': /is the model store of Ollama/ }],
  ['the home of Ollama before its first model', ['c/id_ed25519', 'c/id_ed25519.pub', 'c/models/'], { c: /is the home of Ollama, with its keys/ }],
  ['a cache of JuiceFS', ['c/0d3f-uuid/raw/chunks/0/1', 'c/0d3f-uuid/rawstaging/chunks/0/2'], {
    c: /^c is the cache directory of JuiceFS, which may hold data that is not uploaded yet \(rawstaging\/\): it is never evicted from; limit it with --cache-size/,
    'c/0d3f-uuid': /is a cache of JuiceFS/,
    'c/0d3f-uuid/raw': /lies inside a cache of JuiceFS/,
    'c/0d3f-uuid/rawstaging/chunks': /lies inside a cache of JuiceFS/,
  }],
  ['a Nix store', [`nix/store/${'0a1b'.repeat(8)}-hello/bin/hello`, 'nix/store/.links/', 'nix/var/nix/db/'], { 'nix/store': /is a Nix store: .*nix-collect-garbage/, nix: /is a Nix store/, [`nix/store/${'0a1b'.repeat(8)}-hello`]: /lies inside a Nix store/ }],
  ['a Nix store in another place', [`c/${'0a1b'.repeat(8)}-hello/`, 'c/.links/'], { c: /is a Nix store/ }],
  ['the user home of Gradle', ['c/wrapper/dists/gradle-9/', 'c/caches/modules-2/files-2.1/', 'c/caches/journal-1/', 'c/gradle.properties'], {
    c: /is the user home of Gradle: .*: name c\/wrapper\/dists$/, 'c/caches': /Gradle/, 'c/caches/modules-2': /lies inside/, 'c/wrapper': /lies inside/,
  }],
  ['the user home of Maven', ['c/settings.xml', 'c/repository/org/apache/maven/'], { c: /is the user home of Maven, with its settings/, 'c/repository': /is a local repository of Maven/ }],
  ['a repository of Maven', ['c/com/google/guava/guava/31.1/guava-31.1.pom', 'c/com/google/guava/guava/31.1/_remote.repositories'], { c: /is a local repository of Maven/, 'c/com/google': /lies inside a local repository/ }],
  ['a small repository of Maven', ['c/junit/junit/4.13/junit-4.13.pom', 'c/junit/junit/4.13/junit-4.13.jar'], { c: /is a local repository of Maven/ }],
  ['the home of Cargo', ['c/.package-cache', 'c/bin/', `c/registry/index/${cargoIndex}/`, `c/registry/cache/${cargoIndex}/x.crate`, `c/registry/src/${cargoIndex}/x-1/`], {
    c: /is the home of Cargo/, 'c/registry': /is the registry of Cargo/, 'c/registry/src': /lies inside/, 'c/registry/index': /lies inside/, [`c/registry/src/${cargoIndex}/x-1`]: /lies inside/,
  }],
  ['the module cache of Go', goModules, { c: /is the module cache of Go/, 'c/cache': /lies inside the module cache of Go/, 'c/cache/download/golang.org': /lies inside/ }],
  ['the path of Go', ['c/pkg/mod/cache/download/x/', 'c/bin/'], { c: /is the path of Go/, 'c/pkg': /is the path of Go/ }],
  ['the build cache of Go', ['c/README', 'c/trim.txt', 'c/00/', 'c/ff/'], { c: /is the build cache of Go.*; go removes what was not used for five days/, 'c/00': /lies inside/ }],
  ['the cache of npm', ['c/_cacache/content-v2/sha512/', 'c/_cacache/index-v5/', 'c/_logs/'], { c: /is the cache of npm/, 'c/_cacache': /is the cache of npm/, 'c/_cacache/content-v2': /lies inside/ }],
  ['the cache of pip', ['c/http-v2/a/b/c/d/e/abcde', 'c/selfcheck/'], { c: /is the cache of pip/, 'c/http-v2': /lies inside/ }],
  ['the cache of an older pip', ['c/http/a/b/c/d/e/abcde'], { c: /is the cache of pip/ }],
  ['the cache of uv', ['c/archive-v0/x/', 'c/wheels-v8/', 'c/simple-v28/', 'c/CACHEDIR.TAG'], { c: /is the cache of uv/, 'c/wheels-v8': /lies inside/, 'c/archive-v0/x': /lies inside/ }],
  ['an OCI image layout', ['c/oci-layout', 'c/index.json', 'c/ingest/', `c/blobs/sha256/${sha}`], { c: /is an OCI image layout, whose index\.json refers/, 'c/blobs': /lies inside/, 'c/blobs/sha256': /lies inside/ }],
  ['the store of a container runtime', ['a/io.containerd.content.v1.content/', 'b/overlay-images/', 'b/overlay-layers/', 'd/image/overlay2/', 'd/overlay2/'], {
    a: /store of a container runtime/, 'a/io.containerd.content.v1.content': /lies inside/, b: /store of a container/, 'd/overlay2': /lies inside/,
  }],
  ['an image registry', ['c/docker/registry/v2/blobs/', 'c/docker/registry/v2/repositories/'], { c: /storage of an image registry/, 'c/docker/registry/v2/blobs': /lies inside/ }],
  ['a disk cache of Bazel', ['c/ac/00/', 'c/cas/00/'], { c: /is a disk cache of Bazel.*experimental_disk_cache_gc_max_size/, 'c/cas': /lies inside/ }],
  ['the cache of ccache', ['c/ccache.conf', 'c/0/stats', 'c/a/stats'], { c: /is the cache of ccache.*max_size/ }],
  ['the tools of an Actions runner', ['c/_tool/node/24.1.0/x64/', 'c/_tool/node/24.1.0/x64.complete', 'c/_actions/', 'c/_temp/'], { c: /work folder of an Actions runner/, 'c/_tool': /is the tool cache of an Actions runner/ }],
  ['the models of ModelScope', ['c/credentials/session', 'c/hub/models/Qwen/Qwen3-8B/.msc'], { c: /is the home of ModelScope/, 'c/hub/models': /is a model store of ModelScope/, 'c/hub/models/Qwen/Qwen3-8B': /lies inside/ }],
];

describe('a directory cache is refused', () => {
  test.each(refused)('for %s', (_, paths, messages) => {
    const root = laidOut(paths);
    for (const [path, message] of Object.entries(messages)) expect(refusalOf(root, path)).toMatch(message);
  });

  test('for every layout of the table by a case above', () => {
    const texts = refused.flatMap(([, paths, messages]) => {
      const root = laidOut(paths);
      return Object.keys(messages).map((path) => refusalOf(root, path) ?? '');
    });
    expect(layouts.filter(({ what }) => !texts.some((text) => text.includes(what))).map(({ name }) => name)).toEqual([]);
  });

  test('as soon as the layout appears, and no longer than it is there', async () => {
    const root = laidOut(['c/a', 'c/b']);
    const cache = new Cache({ name: 'c', format: 'directory', root: join(root, 'c'), home: null, limits: { ...noLimits, maxEntries: 1 }, protect: noProtection }, { allowedRoots: [root], settleMs: 0 });
    const plan = async () => (await cache.plan()).plan.evict.length;
    expect(await plan()).toBe(1);
    for (const folder of ['blobs', 'manifests']) mkdirSync(join(root, 'c', folder));
    await expect(cache.pass({ mode: 'Enforce', trigger: 'Manual' })).rejects.toMatchObject({ code: 'ERR_ROOT_KNOWN_LAYOUT' });
    await expect(cache.purge({ now: true })).rejects.toMatchObject({ code: 'ERR_ROOT_KNOWN_LAYOUT' });
    await expect(cache.remove('a', { force: true })).rejects.toMatchObject({ code: 'ERR_ROOT_KNOWN_LAYOUT' });
    rmSync(join(root, 'c', 'manifests'), { recursive: true });
    expect(await plan()).toBe(2);
  });
});

test('an entry with data of JuiceFS deep inside is no entry, and stays whatever the limits say', async () => {
  const root = laidOut(['c/node-1/jfs/uuid/rawstaging/chunks/1', 'c/node-2/jfs/uuid/raw/chunks/1']);
  const cache = new Cache({ name: 'c', format: 'directory', root: join(root, 'c'), home: null, limits: { ...noLimits, maxEntries: 0 }, protect: noProtection }, { allowedRoots: [root], settleMs: 0, restMs: 0 });
  const { before, evicted } = await cache.pass({ mode: 'Enforce', trigger: 'Manual' });
  expect(before.damaged).toEqual([{ name: 'node-1', reason: 'EntryHoldsData', message: `${root}/c/node-1 holds rawstaging/, where JuiceFS keeps data that is not uploaded yet` }]);
  expect(evicted.map(({ key }) => key)).toEqual(['node-2']);
});

describe('a directory cache is served', () => {
  test.each([
    ['a classic Hugging Face hub', classicHub, ['c']],
    ['a classic hub in its home', [...hub(classicHub), 'c/token'], ['c/hub', 'c/assets', 'c/xet']],
    ['folders of models', ['c/llama/config.json', 'c/llama/blobs/x', 'c/mistral/models/a', 'c/token/'], ['c', 'c/llama']],
    ['a folder with a child named blobs', ['c/blobs/x', 'c/models/y', 'c/refs/'], ['c', 'c/blobs']],
    ['a folder with names that are signs only together', ['c/hub/a', 'c/index/', 'c/cache/', 'c/src/', 'c/README', 'c/00/', 'c/index.json', 'c/caches/', 'c/http/x', 'c/repository/x', 'c/token.txt'], ['c']],
    ['Maven-like names without a pom', ['c/org/models/llama/1/w', 'c/com/x', 'd/src/org/apache/maven/x'], ['c', 'd']],
    ['the folders of a Gradle home that are caches', ['c/wrapper/dists/gradle-9/', 'c/caches/modules-2/'], ['c/wrapper/dists']],
    ['folders of module versions', goModules, ['c/golang.org/x', 'c/github.com/a']],
    ['folders of crates', ['c/.package-cache', `c/registry/index/${cargoIndex}/`, `c/registry/cache/${cargoIndex}/x.crate`, `c/registry/src/${cargoIndex}/x-1/`], [`c/registry/src/${cargoIndex}`, `c/registry/cache/${cargoIndex}`]],
    ['the archives of uv', ['c/archive-v0/x/', 'c/wheels-v8/'], ['c/archive-v0']],
    ['the versions of one tool', ['c/_tool/node/24.1.0/x64/', 'c/_tool/node/24.1.0/x64.complete', 'c/_actions/'], ['c/_tool/node']],
    ['the models of one organisation', ['c/Qwen/Qwen3-8B/.msc', 'c/Qwen/Qwen3-8B/w'], ['c/Qwen']],
    ['caches of many tools side by side, and one for each job', ['c/job-1/_cacache/content-v2/', 'c/job-1/_cacache/index-v5/', 'c/job-2/archive-v0/', 'c/job-2/wheels-v8/', 'c/go/trim.txt', 'c/go/00/'], ['c']],
    ['what lies beside a layout', ['c/models/blobs/', 'c/models/manifests/', 'c/other/x'], ['c/other']],
  ])('for %s', (_, paths, served) => {
    const root = laidOut(paths);
    for (const path of served) {
      mkdirSync(join(root, path), { recursive: true });
      expect([path, refusalOf(root, path)]).toEqual([path, undefined]);
    }
  });
});
