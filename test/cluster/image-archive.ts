/** Container images without a registry and without an engine: one layer, its config and a manifest in a tar file. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

import { run } from './run.ts';

export interface ImageArchiveOptions {
  /** Such as `localhost/pause:test`. */
  readonly reference: string;
  /** Becomes the root of the image; everything in it is owned by root there. */
  readonly rootDir: string;
  readonly entrypoint?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Writes what `ctr images import` and `buildah pull docker-archive:` take. */
export async function writeImageArchive(path: string, options: ImageArchiveOptions): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'image-archive-'));
  try {
    const layer = join(dir, 'layer.tar');
    const sameAlways = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
    await run('tar', [...sameAlways, '-C', options.rootDir, '-cf', layer, '.']);
    const digest = createHash('sha256');
    await pipeline(createReadStream(layer), digest);
    const config = {
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: {
        Env: Object.entries({ PATH: '/usr/bin:/bin', ...options.env }).map(([name, value]) => `${name}=${value}`),
        ...(options.entrypoint === undefined ? {} : { Entrypoint: options.entrypoint }),
      },
      rootfs: { type: 'layers', diff_ids: [`sha256:${digest.digest('hex')}`] },
    };
    const manifest = [{ Config: 'config.json', RepoTags: [options.reference], Layers: ['layer.tar'] }];
    await writeFile(join(dir, 'config.json'), JSON.stringify(config));
    await writeFile(join(dir, 'manifest.json'), JSON.stringify(manifest));
    await run('tar', [...sameAlways, '-C', dir, '-cf', path, 'manifest.json', 'config.json', 'layer.tar']);
  } finally {
    await rm(dir, { recursive: true });
  }
}
