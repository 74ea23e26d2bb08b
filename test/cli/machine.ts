import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { runCommandLine } from '../../src/cli/program.ts';
import type { HomeOptions } from '../fixtures/homes.ts';
import { unpackHome } from '../fixtures/homes.ts';
import { Recorder } from './recorder.ts';

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A directory that plays a machine: an allowed root, homes below it, policies beside it. Gone with its scope. */
export class Machine implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'cachepolicy-cli-'));
  readonly allowedRoot = join(this.dir, 'allowed');

  constructor() {
    mkdirSync(this.allowedRoot);
  }

  /** One that is gone with the test that runs. */
  static forTest(): Machine {
    const machine = new Machine();
    onTestFinished(() => machine[Symbol.dispose]());
    return machine;
  }

  home(options: HomeOptions = {}): string {
    return unpackHome(this.allowedRoot, options);
  }

  write(name: string, text: string | Uint8Array): string {
    const file = join(this.dir, name);
    writeFileSync(file, text);
    return file;
  }

  /** Writes a policy of one cache. `limits` is YAML, and so is `spec`, lines of what else stands there. */
  policy(but: { home?: string; limits?: string; minIdle?: string; store?: string; spec?: string; name?: string; file?: string } = {}): string {
    const { home = join(this.allowedRoot, 'home'), limits = '{maxEntries: 4}', minIdle = '60s' } = but;
    const { store = 'Rootfs', spec = '', name = 'a3s-box', file = 'policy.yaml' } = but;
    return this.write(file, `apiVersion: cache.a3s.dev/v1alpha1
kind: CachePolicy
metadata:
  name: ${name}
spec:
${spec}  caches:
  - name: ${store.toLowerCase()}
    a3sBox: {home: ${JSON.stringify(home)}, store: ${store}}
    limits: ${limits}
    protect: {minIdle: ${minIdle}}
`);
  }

  /** A policy for one directory cache, named models. */
  directoryPolicy({ path, limits, minIdle = '60s' }: { path: string; limits: string; minIdle?: string }): string {
    return this.write('models.yaml', `apiVersion: cache.a3s.dev/v1alpha1
kind: CachePolicy
metadata: {name: models}
spec:
  caches:
  - name: models
    directory: {path: ${path}}
    limits: ${limits}
    protect: {minIdle: ${minIdle}}
`);
  }

  /** Runs a command line in this process, with this machine's allowed root unless another is named. */
  async run(...args: string[]): Promise<Result> {
    const io = new Recorder();
    const code = await runCommandLine(args.includes('--allowed-root') ? args : [...args, '--allowed-root', this.allowedRoot], io);
    return { code, stdout: io.stdout, stderr: io.stderr };
  }

  /** Every file with all that can change on it, but for the time of the last read. */
  listing(): string[] {
    return listing(this.allowedRoot);
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function listing(path: string): string[] {
  const stat = lstatSync(path, { bigint: true });
  const link = stat.isSymbolicLink() ? ` -> ${readlinkSync(path)}` : '';
  const line = `${path} ${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.size} ino ${stat.ino} mtime ${stat.mtimeNs} ctime ${stat.ctimeNs}${link}`;
  return [line, ...(stat.isDirectory() ? readdirSync(path).toSorted().flatMap((name) => listing(join(path, name))) : [])];
}
