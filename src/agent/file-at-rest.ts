import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Between the two looks that a file has to stand still for. */
const standStillMs = 200;
/** What nothing has changed for this long is not being written: nobody has to wait for it. */
const restedMs = 5_000;

/** Changes whenever the file does; standard input and pipes never change. */
export function markOf(file: string): string {
  const stat = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stat?.isFile() === true ? `${stat.ino}:${stat.mtimeNs}:${stat.size}` : 'no file';
}

/**
 * Loads a file that nobody is writing: again, until it has stood still from before the load to a while after it. Half of a policy may
 * well be valid (see `SettledMark`).
 * @returns what was loaded, and the mark of the file it was loaded from
 */
export async function loadAtRest<T>(file: string, load: () => Promise<T>, { wait = () => sleep(standStillMs) }: { readonly wait?: () => Promise<unknown> } = {}): Promise<{ readonly loaded: T; readonly mark: string }> {
  for (;;) {
    const mark = markOf(file);
    const isRested = isRestedFile(file);
    const loaded = await load();
    if (!isRested) await wait();
    if (markOf(file) === mark) return { loaded, mark };
  }
}

function isRestedFile(file: string): boolean {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat?.isFile() !== true || stat.mtimeMs < Date.now() - restedMs;
}
