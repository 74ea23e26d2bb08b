/**
 * The operator's image, built from deploy/Dockerfile by buildah, without a registry and without an engine: its two base images are
 * made of what is on this machine (Node, npm, a shell, and the libraries that ldd names). Needs Linux, root and buildah.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { chmod, copyFile, cp, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

import { cacheDir } from './binaries.ts';
import type { LocalImage } from './container-process.ts';
import { writeImageArchive } from './image-archive.ts';
import { withProgress, type Log } from './log.ts';
import { findProgram } from './program.ts';
import { run } from './run.ts';
import { createRunDir } from './run-dir.ts';

/** As the manifests in deploy/ name it. */
export const operatorImage = 'cachepolicy-operator:0.1.0';
/** Node and the libraries it needs, laid out as in the distroless images. */
export const runtimeBaseImage = 'localhost/cachepolicy-test/node-runtime:24';
const buildBaseImage = 'localhost/cachepolicy-test/node-build:24';

const BUILD_TIMEOUT_MS = 600_000;

const repository = join(import.meta.dirname, '..', '..');
/** What the image is made of, besides Node: when none of it has changed, the archive in the cache is still right. */
const inputs = ['deploy/Dockerfile', 'deploy/Dockerfile.dockerignore', 'build.ts', 'package.json', 'package-lock.json', '.npmrc', 'tsconfig.json', 'src'];

const passwd = 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n';

/** What stands for the image on process nodes: the bundles that `make build` leaves. */
export const localOperatorImage: LocalImage = {
  entrypoint: ['/nodejs/bin/node', '/app/cachepolicy.cjs'],
  files: { '/nodejs/bin/node': process.execPath, '/app': join(import.meta.dirname, '..', '..', 'dist') },
};

/** Why the image cannot be built on this machine, in one sentence; undefined where it can. */
export function canBuildImage(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'the image is built on Linux, as root';
  const missing = ['buildah', 'npm', 'tar', 'ldd', 'unshare'].filter((program) => findProgram(program) === undefined);
  return missing.length === 0 ? undefined : `the image needs ${missing.join(', ')} on PATH`;
}

/** Builds the image unless it was built of the same sources before. @returns an archive for `ctr images import`. @throws with what canBuildImage says. */
export async function buildOperatorImage(log: Log, signal?: AbortSignal): Promise<string> {
  const folder = join(cacheDir(), 'images');
  const archive = join(folder, `operator-${fingerprint()}.tar`);
  if (existsSync(archive)) return archive;
  const reason = canBuildImage();
  if (reason !== undefined) throw new Error(reason);
  await mkdir(folder, { recursive: true });
  using runDir = createRunDir();
  const built = join(runDir.path, 'operator.tar');
  const [runtimeBase, buildBase] = [join(runDir.path, 'runtime.tar'), join(runDir.path, 'build.tar')];
  await withProgress(log, 'make base images of what is on this machine', async () => {
    await writeRuntimeBase(runtimeBase);
    await writeBuildBase(buildBase);
  });
  await withProgress(log, 'build deploy/Dockerfile with buildah', async () => {
    const npmrc = join(homedir(), '.npmrc');
    const npmCache = (await run('npm', ['config', 'get', 'cache'])).trim();
    await mkdir(npmCache, { recursive: true });
    const script = `
      set -e
      buildah() { command buildah --root "$run/storage" --runroot "$run/runroot" "$@"; }
      buildah pull --quiet "docker-archive:$runtime_base"
      buildah pull --quiet "docker-archive:$build_base"
      buildah build --isolation chroot --pull=never --layers=false --tag "$image" --file deploy/Dockerfile \\
        --ignorefile deploy/Dockerfile.dockerignore --build-arg "BUILD_BASE=$build_image" --build-arg "RUNTIME_BASE=$runtime_image" \\
        --volume "$npm_cache:/tmp/npm" $npmrc_secret .
      buildah push --quiet "$image" "docker-archive:$archive:docker.io/library/$image"`;
    const env = {
      ...process.env,
      run: runDir.path,
      runtime_base: runtimeBase,
      build_base: buildBase,
      runtime_image: runtimeBaseImage,
      build_image: buildBaseImage,
      image: operatorImage,
      npm_cache: npmCache,
      // The user's npm settings (mirrors, for example) are seen by npm during the build and are not in the image.
      npmrc_secret: existsSync(npmrc) ? `--secret id=npmrc,src=${npmrc}` : '',
      archive: built,
    };
    // In namespaces of its own: whatever buildah mounts and starts goes with it, also when it is interrupted.
    await run('unshare', ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', script], { cwd: repository, env, timeoutMs: BUILD_TIMEOUT_MS, signal });
  });
  await removeOlder(folder);
  await copyFile(built, `${archive}.part`);
  await rename(`${archive}.part`, archive);
  return archive;
}

/** Writes an image with nothing but Node in it: the base of the operator's image, and enough for pods of tests. */
export async function writeRuntimeBase(archive: string): Promise<void> {
  using runDir = createRunDir();
  const root = runDir.dir('root');
  await copyProgram(root, process.execPath, '/nodejs/bin/node');
  await writeBasics(root);
  await writeImageArchive(archive, { reference: runtimeBaseImage, rootDir: root, entrypoint: ['/nodejs/bin/node'], env: { PATH: '/nodejs/bin:/usr/bin:/bin' } });
}

async function writeBuildBase(archive: string): Promise<void> {
  using runDir = createRunDir();
  const root = runDir.dir('root');
  await copyProgram(root, process.execPath, '/usr/local/bin/node');
  for (const program of ['sh', 'env']) {
    const path = (await run('sh', ['-c', `command -v ${program}`])).trim();
    await copyProgram(root, realpathSync(path), program === 'sh' ? '/bin/sh' : '/usr/bin/env');
  }
  const npmCli = realpathSync((await run('sh', ['-c', 'command -v npm'])).trim());
  await cp(dirname(dirname(npmCli)), join(root, 'usr/local/lib/node_modules/npm'), { recursive: true, dereference: true });
  await symlink('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
  await writeBasics(root);
  const env: Record<string, string> = { PATH: '/usr/local/bin:/usr/bin:/bin', npm_config_prefer_offline: 'true' };
  const authorities = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt'].find((path) => existsSync(path));
  if (authorities !== undefined) {
    // A mirror or proxy of this machine may have an authority that only this machine knows.
    env['NODE_EXTRA_CA_CERTS'] = authorities;
    await mkdir(join(root, dirname(authorities)), { recursive: true });
    await copyFile(authorities, join(root, authorities));
  }
  await writeImageArchive(archive, { reference: buildBaseImage, rootDir: root, env });
}

/** Copies a program and the libraries that ldd names, at their own paths. */
async function copyProgram(root: string, program: string, path: string): Promise<void> {
  const copy = async (from: string, to: string) => {
    await mkdir(dirname(join(root, to)), { recursive: true });
    await copyFile(from, join(root, to));
    await chmod(join(root, to), 0o755);
  };
  await copy(program, path);
  const lines = (await run('ldd', [program])).split('\n');
  // Such as `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)` or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
  const libraries = lines.flatMap((line) => /(?:=>\s*)?(\/\S+) \(0x/.exec(line)?.[1] ?? []);
  for (const library of libraries) await copy(library, library);
}

async function writeBasics(root: string): Promise<void> {
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(join(root, 'etc/passwd'), passwd);
  await mkdir(join(root, 'root'));
  await mkdir(join(root, 'tmp'));
  await chmod(join(root, 'tmp'), 0o1777);
}

function fingerprint(): string {
  const digest = createHash('sha256').update(process.version);
  for (const input of inputs) addTo(digest, input);
  return digest.digest('hex').slice(0, 16);
}

function addTo(digest: ReturnType<typeof createHash>, path: string): void {
  const absolute = join(repository, path);
  if (!existsSync(absolute)) return;
  const names = namesIn(absolute);
  if (names === undefined) digest.update(`${path}\0`).update(readFileSync(absolute));
  else for (const name of names) addTo(digest, join(path, name));
}

/** Undefined for what is not a folder. */
function namesIn(path: string): string[] | undefined {
  try {
    return readdirSync(path).toSorted();
  } catch {
    return undefined;
  }
}

/** Archives of older sources only take room. */
async function removeOlder(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith('operator-')) await rm(join(folder, name));
  }
}
