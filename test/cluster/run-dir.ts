/** The folder of one test cluster. Everything the cluster makes lies in it or carries its name, so that what is left can be found. */
import { spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import { messageOf } from '../../src/errors.ts';
import { removeCgroups } from './cgroups.ts';
import type { Log } from './log.ts';

/** Start of the name of every folder, cgroup and process argument of a test cluster. */
export const RUN_PREFIX = 'cachepolicy-cluster-';
const OWNER_FILE = 'owner.json';

export interface RunDir extends Disposable {
  readonly path: string;
  /** Such as `cachepolicy-cluster-x7Kd2q`. */
  readonly name: string;
  /** A folder below it, made when absent. */
  dir(...names: string[]): string;
  /** Removes it with all that is in it. The processes that use it must have ended. */
  remove(): void;
  /** Should this process exit without having removed it, it stays for the next run to find, with the cgroups that bear its name. */
  leaveOnExit(): void;
}

interface Owner {
  readonly pid: number;
  readonly startTime: string;
  readonly pidNamespace: string;
}

const live = new Set<RunDir>();
process.on('exit', () => {
  for (const runDir of live) runDir.remove();
});

/** Makes the folder of a new test cluster below the system's folder for temporary files. It goes when this process exits. */
export function createRunDir(): RunDir {
  const path = mkdtempSync(join(tmpdir(), RUN_PREFIX));
  const owner: Owner = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '', pidNamespace: pidNamespace() };
  writeFileSync(join(path, OWNER_FILE), JSON.stringify(owner));
  const runDir: RunDir = {
    path,
    name: basename(path),
    dir: (...names) => {
      const folder = join(path, ...names);
      mkdirSync(folder, { recursive: true });
      return folder;
    },
    remove: () => {
      removeTree(path);
      live.delete(runDir);
    },
    leaveOnExit: () => void live.delete(runDir),
    [Symbol.dispose]: () => runDir.remove(),
  };
  live.add(runDir);
  return runDir;
}

/** Folders of this user's test clusters whose process is gone: it was killed before it could remove them. */
export function abandonedRunDirs(): string[] {
  return runDirs('gone').filter((path) => lstatSync(path).uid === process.getuid?.());
}

/** Names of the test clusters whose process runs. */
export function liveRuns(): string[] {
  return runDirs('alive').map((path) => basename(path));
}

function runDirs(owner: 'alive' | 'gone'): string[] {
  const names = readdirSync(tmpdir()).filter((name) => name.startsWith(RUN_PREFIX));
  return names.map((name) => join(tmpdir(), name)).filter((path) => ownerState(path) === owner);
}

function ownerState(path: string): 'alive' | 'gone' | 'unknown' {
  const text = readIfPresent(join(path, OWNER_FILE));
  if (text === '') return 'unknown';
  const owner = JSON.parse(text) as Owner;
  // One in another pid namespace cannot be seen from here.
  if (owner.pidNamespace !== pidNamespace()) return 'unknown';
  return startTimeOf(owner.pid) === owner.startTime ? 'alive' : 'gone';
}

/** Removes what clusters of this user that were killed have left behind: folders and cgroups. The kernel has taken the rest. */
export function removeAbandonedRuns(log: Log): void {
  for (const path of abandonedRunDirs()) {
    log(`removing ${path}, left behind by a run that was killed`);
    try {
      if (process.platform === 'linux') removeCgroups(basename(path));
      removeTree(path);
    } catch (error) {
      // Its last processes may be ending just now. The next run tries again.
      log(`${path} is not removed: ${messageOf(error)}`);
    }
  }
}

/** @throws when something is mounted below: removing would reach into what is mounted there. */
export function removeTree(path: string): void {
  const mounts = mountPointsBelow(path, readIfPresent('/proc/self/mountinfo'));
  if (mounts.length > 0) throw new Error(`${path} is not removed: mounted below it are ${mounts.join(', ')}`);
  // Processes that were just killed may still write.
  const options = { recursive: true, force: true, maxRetries: 5, retryDelay: 50 };
  try {
    rmSync(path, options);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
    // Caches hold folders that even their owner may not read; root would not notice.
    spawnSync('chmod', ['-R', 'u+rwX', path]);
    rmSync(path, options);
  }
}

/** @param mountinfo the content of a `/proc/<pid>/mountinfo`. */
export function mountPointsBelow(path: string, mountinfo: string): string[] {
  const points = mountinfo.split('\n').map((line) => line.split(' ')[4] ?? '');
  return points.filter((point) => point === path || point.startsWith(`${path}/`));
}

/** In clock ticks since boot; tells a process from a later one with the same number. */
export function startTimeOf(pid: number): string | undefined {
  const stat = readIfPresent(`/proc/${pid}/stat`);
  return stat === '' ? undefined : stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
