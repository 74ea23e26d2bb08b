import { writeFileSync } from 'node:fs';

export interface KubeconfigInputs {
  readonly server: string;
  /** PEM file with the authority of the server's certificate. */
  readonly caFile: string;
  readonly token: string;
}

/** Writes a kubeconfig with one context. JSON, which every reader of YAML takes. */
export function writeKubeconfig(path: string, { server, caFile, token }: KubeconfigInputs): void {
  const name = 'cachepolicy-test';
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server, 'certificate-authority': caFile } }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  };
  writeFileSync(path, `${JSON.stringify(config, undefined, 2)}\n`, { mode: 0o600 });
}
