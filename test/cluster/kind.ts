/** The e2e suite on a kind cluster of two workers. Needs kind and a container engine; this program makes the cluster, and removes it. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { kubernetesVersion } from './binary-sources.ts';
import { operatorImage } from './image.ts';
import { stderrLog, withProgress } from './log.ts';
import { run } from './run.ts';
import { createRunDir } from './run-dir.ts';

const repository = join(import.meta.dirname, '..', '..');
const engine = process.env['KIND_EXPERIMENTAL_PROVIDER'] ?? 'docker';

for (const tool of ['kind', engine]) {
  await run(tool, ['version']).catch(() => {
    console.error(`make e2e-kind needs ${tool} on PATH. Without it, make e2e runs the same suite on nodes of its own (Linux, root).`);
    process.exit(1);
  });
}

using runDir = createRunDir();
const name = runDir.name.toLowerCase();
const kubeconfig = join(runDir.path, 'kubeconfig');
const configFile = join(runDir.path, 'kind.json');
const worker = { role: 'worker', labels: { 'a3s-box.io/runtime': 'true' } };
writeFileSync(configFile, JSON.stringify({ kind: 'Cluster', apiVersion: 'kind.x-k8s.io/v1alpha4', nodes: [{ role: 'control-plane' }, worker, worker] }));

// Ctrl-C ends the commands below too. What they have begun is removed before this program ends.
process.on('SIGINT', () => {});
const image = `kindest/node:${kubernetesVersion}`;
const create = ['create', 'cluster', '--name', name, '--image', image, '--kubeconfig', kubeconfig, '--config', configFile, '--wait', '180s'];
try {
  await withProgress(stderrLog, 'build the image', () => run(engine, ['build', '-f', 'deploy/Dockerfile', '-t', operatorImage, '.'], { cwd: repository }));
  await withProgress(stderrLog, `create the kind cluster (${image})`, () => run('kind', create));
  await withProgress(stderrLog, 'load the image', () => run('kind', ['load', 'docker-image', operatorImage, '--name', name]));
  const env = { ...process.env, E2E_KUBECONFIG: kubeconfig, E2E_NODE_EXEC: `${engine} exec -i {node}` };
  process.exitCode = await new Promise<number>((resolve, reject) => {
    const suite = spawn(process.execPath, ['test/run.ts', 'e2e'], { cwd: repository, env, stdio: 'inherit' });
    suite.once('error', reject).once('exit', (code) => resolve(code ?? 1));
  });
} finally {
  await withProgress(stderrLog, 'delete the kind cluster', () => run('kind', ['delete', 'cluster', '--name', name]));
}
