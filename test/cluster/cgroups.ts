/** The control groups of a real node: one folder in every hierarchy of cgroup v1, one in the tree of cgroup v2. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const V2_CONTROLLERS = ['cpuset', 'cpu', 'io', 'memory', 'pids'];

/** Where cgroup filesystems are mounted. With v1 there are many, with v2 one. */
export function cgroupMounts(): { readonly path: string; readonly version: 1 | 2 }[] {
  const lines = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return lines
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, path, type]) => ({ path: path as string, version: type === 'cgroup' ? 1 : 2 }));
}

/** Makes a group in every hierarchy. @param group a path of two names, such as `run/node-1`. @throws where the hierarchy is not ours to write. */
export function createCgroup(group: string): void {
  for (const mount of cgroupMounts()) {
    const folders = [join(mount.path, dirname(group)), join(mount.path, group)];
    for (const folder of folders) {
      if (mount.version === 2) passControllersOn(dirname(folder));
      mkdirSync(folder, { recursive: true });
      if (mount.version === 1) copyCpuset(folder);
    }
    if (mount.version === 2) passControllersOn(join(mount.path, group));
  }
}

/** On v1 a cpuset group takes no process until it has been told its processors and memory nodes. */
function copyCpuset(folder: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    const inherited = readIfPresent(join(dirname(folder), file));
    if (inherited !== '' && readIfPresent(join(folder, file)).trim() === '') writeFileSync(join(folder, file), inherited);
  }
}

/** On v2 children have the controllers that their parent passes on; those that are passed on already are not touched. */
function passControllersOn(folder: string): void {
  const available = readIfPresent(join(folder, 'cgroup.controllers')).trim().split(' ');
  const passed = readIfPresent(join(folder, 'cgroup.subtree_control')).trim().split(' ');
  for (const controller of V2_CONTROLLERS) {
    if (available.includes(controller) && !passed.includes(controller)) {
      writeFileSync(join(folder, 'cgroup.subtree_control'), `+${controller}`);
    }
  }
}

/** The folders whose name starts so, directly below each hierarchy. */
export function cgroupsNamed(prefix: string): string[] {
  return cgroupMounts().flatMap(({ path }) =>
    readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name.startsWith(prefix))
      .map((entry) => join(path, entry.name)),
  );
}

/** Removes the groups of a run with all below. @throws EBUSY while a process is in one. */
export function removeCgroups(run: string): void {
  for (const folder of cgroupsNamed(run)) removeGroup(folder);
}

function removeGroup(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeGroup(join(folder, entry.name));
  }
  rmdirSync(folder);
}

function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
