/** The end-to-end tests on a kind cluster of their own: builds the image with the container engine, loads it, runs the suite, deletes the cluster. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { operatorImage } from './image.ts';

const root = join(import.meta.dirname, '..', '..');
const name = `cachepolicy-e2e-${process.pid}`;
const engine = process.env['CONTAINER_ENGINE'] ?? 'docker';

for (const [program, args] of [[engine, ['info']], ['kind', ['version']]] as const) {
  if (spawnSync(program, args, { stdio: 'ignore' }).status === 0) continue;
  console.error(`make e2e-kind needs ${program === 'kind' ? 'kind on PATH' : `a running container engine (${engine}; set CONTAINER_ENGINE for another)`}; make e2e runs the same suite on nodes of its own`);
  process.exit(2);
}

const dir = mkdtempSync(join(tmpdir(), 'cachepolicy-kind-'));
const kubeconfig = join(dir, 'kubeconfig');
const config = join(dir, 'kind.yaml');
const worker = { role: 'worker', labels: { 'a3s-box.io/runtime': 'true' } };
writeFileSync(config, JSON.stringify({ kind: 'Cluster', apiVersion: 'kind.x-k8s.io/v1alpha4', nodes: [{ role: 'control-plane' }, worker, worker] }));
const env = { ...process.env, KIND_EXPERIMENTAL_PROVIDER: engine === 'docker' ? undefined : engine };

let status = 1;
process.on('SIGINT', () => undefined);
try {
  run(engine, ['build', '-t', operatorImage, '-f', join(root, 'deploy/Dockerfile'), root]);
  run('kind', ['create', 'cluster', '--name', name, '--config', config, '--kubeconfig', kubeconfig, '--wait', '180s']);
  run('kind', ['load', 'docker-image', operatorImage, '--name', name]);
  const e2e = { ...env, E2E_KUBECONFIG: kubeconfig, E2E_NODE_EXEC: `${engine} exec -i {node}` };
  status = spawnSync('vitest', ['run', '--project', 'e2e', 'test/e2e/operator.test.ts'], { cwd: root, stdio: 'inherit', env: e2e }).status ?? 1;
} finally {
  spawnSync('kind', ['delete', 'cluster', '--name', name, '--kubeconfig', kubeconfig], { stdio: 'inherit', env });
  rmSync(dir, { recursive: true, force: true });
}
process.exitCode = status;

function run(program: string, args: readonly string[]): void {
  const { status: code, signal } = spawnSync(program, args, { stdio: 'inherit', env });
  if (code !== 0) throw new Error(`${program} ${args[0]} ended with ${code ?? signal}`);
}
