/** The volumes of a pod on a process node, as folders on this machine. */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import type { V1ConfigMapVolumeSource, V1Container, V1HostPathVolumeSource, V1Volume, V1VolumeProjection } from '@kubernetes/client-node';

import { podField, type PathMap } from './container-process.ts';
import type { NodeApi } from './node-api.ts';
import type { Pod } from './pod.ts';

/** Kubelet asks for a new token after this part of the old one's life. */
const TOKEN_RENEWAL = 0.8;

type Files = Map<string, string>;

export class PodVolumes {
  readonly #pod: Pod;
  readonly #dir: string;
  readonly #hostRoot: string;
  readonly #api: NodeApi;
  readonly #tokens = new Map<string, { readonly token: string; readonly renewAt: number }>();

  constructor(pod: Pod, dir: string, hostRoot: string, api: NodeApi) {
    this.#pod = pod;
    this.#dir = dir;
    this.#hostRoot = hostRoot;
    this.#api = api;
  }

  /** Makes or refreshes all of them. @throws with what is missing; kubelet tries again until it is there. */
  async prepare(): Promise<void> {
    for (const volume of this.#pod.spec.volumes ?? []) await this.#prepareOne(volume);
  }

  /** Where the container's mount paths lie. Host paths are not among them: they keep their path below the node's root. */
  mountsOf(container: V1Container): PathMap {
    const mounts = (container.volumeMounts ?? []).flatMap(({ name, mountPath, subPath }): [string, string][] => {
      if (subPath) throw new Error(`process nodes know no subPath (${name})`);
      const hostPath = this.#pod.spec.volumes?.find((volume) => volume.name === name)?.hostPath?.path;
      if (hostPath === undefined) return [[mountPath, this.#folderOf(name)]];
      if (hostPath !== mountPath) throw new Error(`process nodes show the host path ${hostPath} at no other place than its own (${mountPath})`);
      return [];
    });
    return new Map(mounts);
  }

  #folderOf(volumeName: string): string {
    return join(this.#dir, volumeName);
  }

  async #prepareOne(volume: V1Volume): Promise<void> {
    const folder = this.#folderOf(volume.name);
    if (volume.hostPath) return checkHostPath(volume.hostPath, this.#hostRoot);
    mkdirSync(folder, { recursive: true });
    if (volume.emptyDir) return;
    if (volume.configMap) return project(folder, await this.#configMapFiles(volume.configMap));
    if (volume.projected) return project(folder, await this.#projectedFiles(volume.projected.sources ?? []));
    throw new Error(`process nodes know no such volume: ${JSON.stringify(volume)}`);
  }

  async #configMapFiles({ name, items, optional }: Pick<V1ConfigMapVolumeSource, 'name' | 'items' | 'optional'>): Promise<Files> {
    const data = await this.#api.configMapData(this.#pod.metadata.namespace, name as string);
    if (data === undefined && !optional) throw new Error(`configmap "${name}" not found`);
    const all = Object.entries(data ?? {});
    if (items === undefined) return new Map(all);
    return new Map(items.flatMap(({ key, path }) => all.filter(([present]) => present === key).map(([, text]): [string, string] => [path, text])));
  }

  async #projectedFiles(sources: readonly V1VolumeProjection[]): Promise<Files> {
    const files: Files = new Map();
    for (const { serviceAccountToken, configMap, downwardAPI, ...unknown } of sources) {
      if (Object.keys(unknown).length > 0) throw new Error(`process nodes know no such projection: ${Object.keys(unknown).join()}`);
      if (serviceAccountToken) {
        const { audience, expirationSeconds = 3600, path } = serviceAccountToken;
        files.set(path, await this.#token(audience, expirationSeconds));
      }
      if (configMap) for (const [name, text] of await this.#configMapFiles(configMap)) files.set(name, text);
      for (const { path, fieldRef } of downwardAPI?.items ?? []) files.set(path, podField(this.#pod, fieldRef?.fieldPath ?? ''));
    }
    return files;
  }

  async #token(audience: string | undefined, expirationSeconds: number): Promise<string> {
    const known = this.#tokens.get(audience ?? '');
    if (known !== undefined && performance.now() < known.renewAt) return known.token;
    const token = await this.#api.podToken(this.#pod, audience, expirationSeconds);
    this.#tokens.set(audience ?? '', { token, renewAt: performance.now() + expirationSeconds * 1000 * TOKEN_RENEWAL });
    return token;
  }
}

/** As kubelet: the path is followed where it is a link. @throws where it is not of its type. */
function checkHostPath({ path, type }: V1HostPathVolumeSource, hostRoot: string): void {
  const local = join(hostRoot, path);
  if (type === 'DirectoryOrCreate') mkdirSync(local, { recursive: true });
  if (!type) return;
  const stats = statSync(local, { throwIfNoEntry: false });
  if (!type.startsWith('Directory')) throw new Error(`process nodes know no hostPath of type ${type}`);
  if (!stats?.isDirectory()) throw new Error(`hostPath type check failed: ${path} is not a directory`);
}

/**
 * Writes files as kubelet does: into a new folder that the link `..data` then points to, so that all change at once.
 * Every name is a link through `..data`.
 */
function project(folder: string, files: Files): void {
  if (sameAsPresent(folder, files)) return;
  const version = `..${randomUUID()}`;
  const old = linkTarget(join(folder, '..data'));
  for (const [name, text] of files) {
    const path = join(folder, version, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  mkdirSync(join(folder, version), { recursive: true });
  symlinkSync(version, join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  const names = new Set([...files.keys()].map((name) => name.split('/')[0] as string));
  const present = readdirSync(folder).filter((name) => !name.startsWith('..'));
  for (const name of names) if (!present.includes(name)) symlinkSync(join('..data', name), join(folder, name));
  for (const name of present) if (!names.has(name)) rmSync(join(folder, name));
  if (old !== undefined) rmSync(join(folder, old), { recursive: true });
}

function sameAsPresent(folder: string, files: Files): boolean {
  const data = join(folder, '..data');
  if (linkTarget(data) === undefined) return false;
  const present = readdirSync(data, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return present.length === files.size && [...files].every(([name, text]) => readIfPresent(join(data, name)) === text);
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
