import type { Dir } from '../disk/dir.ts';
import type { OpenRootOptions } from '../disk/pinned-root.ts';
import { openRoot } from '../disk/pinned-root.ts';
import type { Format } from './formats/format.ts';

/** The directory whose children are the entries of one cache. @throws ERR_PATH_NOT_ALLOWED, ERR_ROOT_* */
export function openCacheRoot(path: string, format: Format, options: OpenRootOptions): Dir {
  using scope = new DisposableStack();
  const root = scope.use(openRoot(path, options));
  if (format.kind === 'Plain') format.refuseRoot(root, options.allowedRoots);
  scope.move();
  return root;
}
