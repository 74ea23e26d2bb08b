/** Vitest's globalSetup for the integration tests: a control plane for each of the files that run at the same time. */
import type { TestProject } from 'vitest/node';

import { startControlPlane } from './control-plane.ts';
import { stderrLog } from './log.ts';

/** What a test gets by `controlPlane()`. */
export interface SharedControlPlane {
  readonly kubeconfigPath: string;
  readonly server: string;
  readonly caFile: string;
  readonly adminToken: string;
  readonly kubectlPath: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    controlPlanes: readonly SharedControlPlane[];
  }
}

/** @returns what ends them. */
export async function setup(project: TestProject): Promise<() => Promise<unknown>> {
  const starting = Array.from({ length: project.config.maxWorkers }, () => startControlPlane({ log: stderrLog }));
  const controlPlanes = await Promise.all(starting);
  project.provide('controlPlanes', controlPlanes.map(({ kubeconfigPath, server, caFile, adminToken, kubectlPath }) => ({ kubeconfigPath, server, caFile, adminToken, kubectlPath })));
  return () => Promise.all(controlPlanes.map((each) => each.stop()));
}
