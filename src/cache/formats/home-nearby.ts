import { lstatSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { contains } from '../../api/paths.ts';
import type { Dir } from '../../disk/dir.ts';
import { asDiskError, shown } from '../../disk/disk-error.ts';
import { errnoOf, OperatorError } from '../../errors.ts';

/**
 * By path, because it only looks: the directory itself was opened without following a link.
 *
 * Refuses a directory that is the home of an A3S Box runtime, lies inside one, or stands beside one: there a slip of the pen in a policy
 * would delete the runtime's boxes as entries. That no entry is a home is seen when the entries are looked through.
 * @throws ERR_ROOT_NEAR_HOME; ERR_ROOT_UNREADABLE where it cannot be told
 */
export function refuseNearHome(root: Dir, allowedRoots: readonly string[]): void {
  const inside = ancestors(root.path, allowedRoots).find(looksLikeHome);
  if (inside !== undefined) throw nearHome(root, inside);
  const beside = directoriesIn(dirname(root.path)).find(looksLikeHome);
  if (beside !== undefined) throw nearHome(root, beside);
}

/** Refuses a directory of which a child is a home. @throws ERR_ROOT_NEAR_HOME, ERR_ROOT_UNREADABLE */
export function refuseHomeIn(root: Dir): void {
  const home = directoriesIn(root.path).find(looksLikeHome);
  if (home !== undefined) throw nearHome(root, home);
}

export function nearHome(root: Dir, home: string): OperatorError {
  const how = home === root.path ? 'is' : contains(home, root.path) ? 'lies inside' : contains(root.path, home) ? 'holds' : 'stands beside';
  return new OperatorError('ERR_ROOT_NEAR_HOME', `${shown(root.path)} ${how} what looks like the home of an A3S Box runtime${home === root.path ? '' : `, ${shown(home)}`} (it has boxes/ and cache/)`);
}

/** From the path itself up to the allowed root, which is among them. */
function ancestors(path: string, allowedRoots: readonly string[]): string[] {
  const found: string[] = [];
  for (let at = path; at !== '' && allowedRoots.some((root) => contains(root, at)); at = at.slice(0, at.lastIndexOf('/'))) found.push(at);
  return found;
}

function directoriesIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true }).flatMap((child) => (child.isDirectory() ? [`${path}/${child.name}`] : []));
  } catch (error) {
    throw untold(path, error);
  }
}

/** Gone, or no directory any more; or closed to this process, which could not delete anything there either. */
const noHome: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'EACCES']);

function looksLikeHome(path: string): boolean {
  return ['boxes', 'cache'].every((name) => {
    try {
      return lstatSync(`${path}/${name}`).isDirectory();
    } catch (error) {
      if (noHome.has(errnoOf(error) ?? '')) return false;
      throw untold(path, error);
    }
  });
}

function untold(path: string, error: unknown): unknown {
  return asDiskError(`tell whether there is a home of an A3S Box runtime in ${shown(path)}`, error, 'ERR_ROOT_UNREADABLE');
}
