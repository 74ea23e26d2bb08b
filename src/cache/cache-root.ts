import type { Dir } from '../disk/dir.ts';
import type { OpenRootOptions } from '../disk/pinned-root.ts';
import { openRoot } from '../disk/pinned-root.ts';
import type { Format } from './formats/format.ts';

/**
 * The directory whose children are the entries of one cache.
 * @param options lookInside: refuse it also for what is in it, which a scan would do
 * @throws ERR_PATH_NOT_ALLOWED, ERR_ROOT_*
 */
export function openCacheRoot(path: string, format: Format, options: OpenRootOptions & { lookInside?: boolean }): Dir {
  using scope = new DisposableStack();
  const root = scope.use(openRoot(path, options));
  if (format.kind === 'Plain') format.refuseRoot(root, options.allowedRoots);
  if (format.kind === 'Plain' && options.lookInside === true) format.refuseContent(root);
  scope.move();
  return root;
}
