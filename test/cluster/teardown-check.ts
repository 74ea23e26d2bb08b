/**
 * Finds what test clusters have left on this machine: everything they make carries the name of its run.
 * As a program, it looks for what has been left by any run that has ended, lists it, and fails if there is something.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { cgroupsNamed } from './cgroups.ts';
import { liveRuns, mountPointsBelow, RUN_PREFIX } from './run-dir.ts';

export interface ProcessFound {
  readonly pid: number;
  readonly command: string;
}

/** Start of the names of all links to real nodes. */
export const LINK_PREFIX = 'cpt-';

/** Name of the link to the node; at most 15 characters, and it names the run. */
export function linkName(run: string, node: number): string {
  return `${LINK_PREFIX}${run.slice(RUN_PREFIX.length)}-${node}`;
}

/**
 * One line for each process, mount, link, cgroup and folder of a run.
 * @param run its name; a prefix of it stands for all runs that begin so.
 */
export function leftoversOf(run: string): string[] {
  const links = namesIn('/sys/class/net').filter((name) => name.startsWith(`${LINK_PREFIX}${run.slice(RUN_PREFIX.length)}`));
  return [
    ...processesNaming(run).map(({ pid, command }) => `process ${pid}: ${command}`),
    ...mountsOf(run).map((path) => `mount ${path}`),
    ...links.map((name) => `link ${name}`),
    ...cgroupsNamed(run).map((path) => `cgroup ${path}`),
    ...namesIn(tmpdir()).filter((name) => name.startsWith(run)).map((name) => `folder ${join(tmpdir(), name)}`),
  ];
}

/** Processes whose arguments, environment or cgroup contain the text, this one excepted. */
export function processesNaming(text: string): ProcessFound[] {
  return pids()
    .filter((pid) => pid !== process.pid)
    .filter((pid) => ['cmdline', 'environ', 'cgroup'].some((file) => readIfPresent(`/proc/${pid}/${file}`).includes(text)))
    .map((pid) => ({ pid, command: readIfPresent(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim() }));
}

/** Mount points in all mount namespaces that can be seen. */
function mountsOf(run: string): string[] {
  const seen = new Set<string>();
  return pids().flatMap((pid) => {
    const namespace = linkTarget(`/proc/${pid}/ns/mnt`);
    if (namespace === undefined || seen.has(namespace)) return [];
    seen.add(namespace);
    const mountinfo = readIfPresent(`/proc/${pid}/mountinfo`);
    return mountPointsBelow(tmpdir(), mountinfo).filter((path) => path.startsWith(join(tmpdir(), run)));
  });
}

function pids(): number[] {
  return namesIn('/proc').map(Number).filter(Number.isInteger);
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** A process may end while it is looked at, and those of other users cannot be looked into. */
function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

if (import.meta.main) {
  const live = liveRuns();
  const ofLive = live.flatMap((run) => leftoversOf(run));
  const left = leftoversOf(RUN_PREFIX).filter((line) => !ofLive.includes(line));
  for (const line of left) console.log(line);
  for (const run of live) console.log(`${run} still runs, and is not counted`);
  console.log(left.length === 0 ? 'nothing is left of any test cluster' : `${left.length} left of test clusters`);
  process.exitCode = left.length === 0 ? 0 : 1;
}
