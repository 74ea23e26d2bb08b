import { defineConfig } from 'vitest/config';
import LongestFirst from './test/longest-first.ts';

/** Three suites, from what runs anywhere to what needs Linux, root and a container runtime; test/run.ts says which can run here. */
export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/integration/**', 'test/e2e/**'],
          pool: 'forks',
          // Much of it waits for settles and rests; the default leaves one of two processors idle.
          maxWorkers: 2,
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          // Starts a control plane for each worker: files that run at the same time share none, and those that run after each other do.
          globalSetup: ['test/cluster/vitest-setup.ts'],
          pool: 'forks',
          maxWorkers: 2,
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 900_000,
        },
      },
    ],
  },
});
