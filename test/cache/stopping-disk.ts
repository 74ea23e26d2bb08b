import type { Fault } from '../../src/disk/dir.ts';

/** A disk that takes so many steps and then no more, as after a power cut or SIGKILL. */
export class StoppingDisk {
  taken = 0;
  stopped = false;
  readonly #stopAfter: number;

  constructor(stopAfter: number) {
    this.#stopAfter = stopAfter;
  }

  readonly fault: Fault = (step) => {
    this.stopped ||= this.taken >= this.#stopAfter;
    if (this.stopped) throw new Error(`the disk stopped before: ${step}`);
    this.taken += 1;
  };
}

/** Runs something on a disk that stops after so many steps. @returns false where it ended before that */
export async function stops(stopAfter: number, act: (fault: Fault) => Promise<unknown>): Promise<boolean> {
  const disk = new StoppingDisk(stopAfter);
  await act(disk.fault).catch((error: unknown) => {
    if (!disk.stopped) throw error;
  });
  return disk.stopped;
}
