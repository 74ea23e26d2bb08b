import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';

import { download, findBinaries } from '../cluster/binaries.ts';
import { sourceOf } from '../cluster/binary-sources.ts';
import { silent } from '../cluster/log.ts';
import { findProgram } from '../cluster/program.ts';

const tool = { name: 'kubectl', cacheFolder: 'tool-v1' } as const;
let dir: string;
const cached = () => join(dir, 'cachepolicy-test', tool.cacheFolder);

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'binaries-spec-'));
  vi.stubEnv('XDG_CACHE_HOME', dir);
  onTestFinished(async () => {
    vi.unstubAllEnvs();
    await rm(dir, { recursive: true });
  });
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

function serveFiles(files: Readonly<Record<string, string | Buffer>>): Promise<string> {
  return serve((request, response) => {
    const content = files[request.url ?? ''];
    response.statusCode = content === undefined ? 404 : 200;
    response.end(content);
  });
}

const sha256 = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');

describe('a download', () => {
  it('lands in the cache, executable, when it is what its checksum says', async () => {
    const site = await serveFiles({ '/kubectl': '#!/bin/sh\n', '/kubectl.sha256': sha256('#!/bin/sh\n') });
    await download(tool, { url: `${site}/kubectl`, checksumUrl: `${site}/kubectl.sha256` });
    expect(await readFile(join(cached(), 'kubectl'), 'utf8')).toBe('#!/bin/sh\n');
    expect((await stat(join(cached(), 'kubectl'))).mode & 0o777).toBe(0o755);
    expect(await readdir(cached())).toEqual(['kubectl']);
  });

  it('is taken out of its archive, with the checksum from a list of many', async () => {
    await mkdir(join(dir, 'release/bin'), { recursive: true });
    await writeFile(join(dir, 'release/bin/kubectl'), 'the program');
    const archive = execFileSync('tar', ['-czf', '-', '-C', dir, 'release/bin/kubectl']);
    const sums = `${'0'.repeat(64)}  other.tar.gz\n${sha256(archive)}  release.tar.gz\n`;
    const site = await serveFiles({ '/release.tar.gz': archive, '/SHA256SUMS': sums });
    await download(tool, { url: `${site}/release.tar.gz`, checksumUrl: `${site}/SHA256SUMS`, member: 'release/bin/kubectl' });
    expect(await readFile(join(cached(), 'kubectl'), 'utf8')).toBe('the program');
    expect(await readdir(cached())).toEqual(['kubectl']);
  });

  it('leaves nothing in the cache when it is not what its checksum says', async () => {
    const site = await serveFiles({ '/kubectl': 'something else', '/kubectl.sha256': sha256('the program') });
    await expect(download(tool, { url: `${site}/kubectl`, checksumUrl: `${site}/kubectl.sha256` })).rejects.toThrow(/has SHA-256 .* not .* as published/);
    expect(await readdir(cached())).toEqual([]);
  });

  it('fails within seconds where nobody answers', async () => {
    const site = await serve(() => {});
    const startedAt = performance.now();
    await expect(download(tool, { url: `${site}/kubectl`, checksumUrl: `${site}/kubectl.sha256` })).rejects.toThrow('no answer in 5 s');
    expect(performance.now() - startedAt).toBeLessThan(8_000);
  });
});

describe('finding a program', () => {
  it('prefers the folder that KUBEBUILDER_ASSETS names, and takes only what can be run', async () => {
    const source = sourceOf('kubectl');
    const [assets, folder] = [join(dir, 'assets'), join(dir, 'cachepolicy-test', source.cacheFolder)];
    for (const place of [assets, folder]) {
      await mkdir(place, { recursive: true });
      await writeFile(join(place, 'kubectl'), '', { mode: 0o755 });
    }
    expect(await findBinaries(['kubectl'], silent)).toEqual({ kubectl: join(folder, 'kubectl') });
    vi.stubEnv('KUBEBUILDER_ASSETS', assets);
    expect(await findBinaries(['kubectl'], silent)).toEqual({ kubectl: join(assets, 'kubectl') });
    await chmod(join(assets, 'kubectl'), 0o644);
    expect(await findBinaries(['kubectl'], silent)).toEqual({ kubectl: join(folder, 'kubectl') });
  });

  it.skipIf(findProgram('go') === undefined)('builds it from source once, when two processes want it at once', async () => {
    const env = { ...process.env, GOCACHE: execFileSync('go', ['env', 'GOCACHE'], { encoding: 'utf8', env: { ...process.env, XDG_CACHE_HOME: '' } }).trim() };
    const script = `
      import { findBinaries } from './test/cluster/binaries.ts';
      console.log((await findBinaries(['pause'], (line) => console.log(line))).pause);`;
    const outputs = await Promise.all(
      [1, 2].map(async () => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', script], { env, stdio: ['ignore', 'pipe', 'inherit'] });
        return Buffer.concat(await child.stdout.toArray()).toString();
      }),
    );
    const lines = outputs.join('').split('\n');
    expect(lines.filter((line) => line.startsWith('build pause') && line.includes('done'))).toHaveLength(1);
    expect(lines.filter((line) => line === join(dir, 'cachepolicy-test/pause-v1/pause'))).toHaveLength(2);
  });
});
