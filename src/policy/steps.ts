/** Long work that may be left and taken up again between any two of its steps, each of a few milliseconds. */
export type Steps<R> = Generator<void, R, void>;

/** All of it at once. */
export function atOnce<R>(steps: Steps<R>): R {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** So many rows are one step; a power of two less one. */
export const stepMask = 4_095;
