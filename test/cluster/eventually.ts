import { setTimeout as sleep } from 'node:timers/promises';

/** Tries until it does not throw; then throws what it threw last. */
export async function eventually<T>(attempt: () => Promise<T> | T, withinMs = 30_000, pauseMs = 200): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(pauseMs);
    }
  }
}
