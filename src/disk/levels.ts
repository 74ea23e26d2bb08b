import { constants } from 'node:fs';
import { OperatorError } from '../errors.ts';
import type { Dir } from './dir.ts';
import { diskError, shown } from './disk-error.ts';
import { AT_FDCWD, O_PATH, openat2, resolve } from './libc.ts';
import { isSameFile } from './stat.ts';

/**
 * The directories above a pinned one, from `/` down to its parent, each opened through the one above it and through no link. They may be
 * closed to this user: nothing is read in them. The caller closes them.
 * @throws ERR_ROOT_REPLACED where the path leads to another directory than the pinned one; ERR_DISK_IO
 */
export function openLevels(root: Dir): Dir[] {
  using scope = new DisposableStack();
  const components = root.path.slice(1).split('/');
  const name = components.pop() ?? '';
  const levels = [scope.use(openAt(root, AT_FDCWD, '/', '/'))];
  for (const component of components) {
    const above = levels.at(-1)!;
    levels.push(scope.use(openAt(root, above.fd, component, `${above.path === '/' ? '' : above.path}/${component}`)));
  }
  const there = levels.at(-1)!.statOf(name);
  if (there === undefined || !isSameFile(there, root.stat())) throw new OperatorError('ERR_ROOT_REPLACED', `${shown(root.path)} is another directory than the one that was opened`);
  scope.move();
  return levels;
}

function openAt(root: Dir, dirFd: number, name: string, path: string): Dir {
  const fd = openat2(dirFd, name, { flags: O_PATH | constants.O_DIRECTORY, resolve: dirFd === AT_FDCWD ? resolve.noLinks : resolve.beneath });
  if (fd < 0) throw diskError(`open ${shown(path)}`, fd);
  return root.sibling(fd, path);
}
