import { isNormalPath } from '../api/paths.ts';
import type { KubeObject } from '../kube/objects.ts';

/** The allowed roots of the installer's ConfigMap, one a line. Without the ConfigMap none is allowed; a line that is no plain path allows nothing. */
export function parseAllowedRoots(configMap: (KubeObject & { data?: Record<string, string> }) | undefined): readonly string[] {
  const lines = (configMap?.data?.['roots'] ?? '').split('\n').map((line) => line.trim());
  return lines.filter((line) => isNormalPath(line));
}
