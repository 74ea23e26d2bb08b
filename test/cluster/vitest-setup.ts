/** Vitest's globalSetup for the integration tests: one control plane for all their files. */
import type { TestProject } from 'vitest/node';

import { startControlPlane } from './control-plane.ts';
import { stderrLog } from './log.ts';

/** What a test gets by `inject('controlPlane')`. */
export interface SharedControlPlane {
  readonly kubeconfigPath: string;
  readonly server: string;
  readonly caFile: string;
  readonly adminToken: string;
  readonly kubectlPath: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    controlPlane: SharedControlPlane;
  }
}

/** @returns what ends it. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const controlPlane = await startControlPlane({ log: stderrLog });
  const { kubeconfigPath, server, caFile, adminToken, kubectlPath } = controlPlane;
  project.provide('controlPlane', { kubeconfigPath, server, caFile, adminToken, kubectlPath });
  return () => controlPlane.stop();
}
