/**
 * Where the programs of the test clusters come from, in this order: the folder KUBEBUILDER_ASSETS names, the user's cache
 * folder, the official release (checksum verified) where the network allows it, and their Go modules, which needs only Go.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';

import { sourceOf, type BinaryName, type BinarySource, type Release } from './binary-sources.ts';
import { withProgress, type Log } from './log.ts';
import { isExecutable } from './program.ts';
import { run } from './run.ts';

/** Where the network forbids downloads, they should fail quickly. */
const FIRST_ANSWER_TIMEOUT_MS = 5_000;
const DOWNLOAD_TIMEOUT_MS = 300_000;
const LOCK_POLL_MS = 500;

/** `$XDG_CACHE_HOME/cachepolicy-test`, or below `~/.cache`. */
export function cacheDir(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'cachepolicy-test');
}

/**
 * The absolute path of each program, fetched or built where it is not at hand yet.
 * Two calls at once, also of two processes, do not fetch or build twice.
 * @throws when one can be neither found, downloaded nor built; the message says why.
 */
export async function findBinaries<Name extends BinaryName>(names: readonly Name[], log: Log, signal?: AbortSignal): Promise<Record<Name, string>> {
  const found = findPresent(names);
  if (names.some((name) => found.get(name) === undefined)) {
    await using _lock = await lockCache(log, signal);
    for (const [name, path] of findPresent(names)) found.set(name, path);
    const missing = names.filter((name) => found.get(name) === undefined);
    const left = await downloadAll(missing.map(sourceOf), log, signal);
    for (const [index, source] of left.entries()) await build(source, `${index + 1} of ${left.length}`, log, signal);
    for (const name of missing) found.set(name, cachedPath(sourceOf(name)));
  }
  return Object.fromEntries(found) as Record<Name, string>;
}

function findPresent<Name extends BinaryName>(names: readonly Name[]): Map<Name, string | undefined> {
  const assets = process.env['KUBEBUILDER_ASSETS'];
  return new Map(
    names.map((name) => {
      const candidates = [...(assets ? [join(assets, name)] : []), cachedPath(sourceOf(name))];
      return [name, candidates.find(isExecutable)];
    }),
  );
}

function cachedPath(source: Pick<BinarySource, 'name' | 'cacheFolder'>): string {
  return join(cacheDir(), source.cacheFolder, source.name);
}

/** Makes the file under another name and renames it, so that a program in the cache is always whole. */
async function publish(source: Pick<BinarySource, 'name' | 'cacheFolder'>, make: (temporary: string) => Promise<void>): Promise<void> {
  const path = cachedPath(source);
  const temporary = `${path}.${process.pid}.part`;
  await mkdir(join(cacheDir(), source.cacheFolder), { recursive: true });
  try {
    await make(temporary);
    await chmod(temporary, 0o755);
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** @returns those that could not be downloaded. The first that the network refuses ends the attempt. */
async function downloadAll(sources: readonly BinarySource[], log: Log, signal?: AbortSignal): Promise<BinarySource[]> {
  const left = [...sources];
  // There are releases of all of them for Linux only.
  if (process.platform !== 'linux' || process.env['CACHEPOLICY_TEST_NO_DOWNLOAD']) return left;
  for (const [index, source] of sources.entries()) {
    const { release } = source;
    if (release === undefined) continue;
    try {
      await withProgress(log, `download ${source.name} (${index + 1} of ${sources.length})`, () => download(source, release, signal));
      left.splice(left.indexOf(source), 1);
    } catch (error) {
      signal?.throwIfAborted();
      log(`no download from ${new URL(release.url).host}: ${(error as Error).message}; building from source instead`);
      break;
    }
  }
  return left;
}

/** Fetches a release into the cache. @throws when it cannot be had, or is not what its checksum says. */
export async function download(source: Pick<BinarySource, 'name' | 'cacheFolder'>, release: Release, signal?: AbortSignal): Promise<void> {
  const checksum = await expectedChecksum(release, signal);
  await publish(source, async (temporary) => {
    const archive = release.member === undefined ? temporary : `${temporary}.tar.gz`;
    try {
      const response = await get(release.url, signal);
      await pipeline(Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]), createWriteStream(archive));
      const actual = createHash('sha256').update(await readFile(archive)).digest('hex');
      if (actual !== checksum) throw new Error(`${release.url} has SHA-256 ${actual}, not ${checksum} as published`);
      if (release.member !== undefined) {
        await run('sh', ['-c', 'tar -xzOf "$1" "$2" > "$3"', 'tar', archive, release.member, temporary]);
      }
    } finally {
      if (archive !== temporary) await rm(archive, { force: true });
    }
  });
}

async function expectedChecksum(release: Release, signal?: AbortSignal): Promise<string> {
  const lines = (await (await get(release.checksumUrl, signal)).text()).trim().split('\n');
  const file = release.url.split('/').at(-1) as string;
  const line = lines.length === 1 ? lines[0] : lines.find((text) => text.trim().endsWith(file));
  const checksum = line?.trim().split(/\s+/)[0];
  if (checksum === undefined || !/^[0-9a-f]{64}$/.test(checksum)) throw new Error(`${release.checksumUrl} holds no checksum of ${file}`);
  return checksum;
}

async function get(url: string, signal?: AbortSignal): Promise<Response> {
  const abort = new AbortController();
  const firstAnswer = setTimeout(() => abort.abort(new Error(`no answer in ${FIRST_ANSWER_TIMEOUT_MS / 1000} s`)), FIRST_ANSWER_TIMEOUT_MS);
  try {
    const ends = [abort.signal, AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS), ...(signal === undefined ? [] : [signal])];
    const response = await fetch(url, { signal: AbortSignal.any(ends) });
    if (!response.ok) throw new Error(`status ${response.status} for ${url}`);
    return response;
  } catch (error) {
    const cause = (error as Error).cause;
    throw cause instanceof Error ? cause : error;
  } finally {
    clearTimeout(firstAnswer);
  }
}

async function build(source: BinarySource, position: string, log: Log, signal?: AbortSignal): Promise<void> {
  await publish(source, (temporary) =>
    withProgress(log, `build ${source.name} (${position})`, async () => {
      try {
        await run('go', ['build', '-trimpath', '-o', temporary, ...source.buildArgs], {
          cwd: source.moduleDir,
          env: { ...process.env, CGO_ENABLED: '0' },
          signal,
        });
      } catch (error) {
        const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
        throw missing ? new Error(`${source.name} is not at hand and cannot be built: there is no go on PATH (Go 1.26 or newer)`) : error;
      }
    }),
  );
}

/**
 * One at a time, over all processes of this user. An abstract socket, because the kernel frees it whatever way its holder ends.
 * Elsewhere than on Linux there is none: two runs may then build the same file twice, which harms nothing.
 */
async function lockCache(log: Log, signal?: AbortSignal): Promise<AsyncDisposable> {
  if (process.platform !== 'linux') return { [Symbol.asyncDispose]: async () => {} };
  for (let attempt = 0; ; attempt++) {
    const server = createServer();
    const held = await new Promise<boolean>((resolve, reject) => {
      server.once('listening', () => resolve(true));
      server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(false) : reject(error)));
      server.listen(`\0${cacheDir()}`);
    });
    if (held) return { [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
    if (attempt === 0) log('waiting for another run that fetches or builds the same programs');
    await delay(LOCK_POLL_MS, undefined, signal === undefined ? {} : { signal });
  }
}
