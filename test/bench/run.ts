/**
 * `make bench`: each figure beside its baseline of the same run, as a table and as bench.json. Every bench has a process of its own, so that no heap and no
 * compiled code of one is another's. ONLY=name,name chooses; BENCH_FULL=1 takes the long ones at full length.
 */
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { agentFlags } from './agent-flags.ts';
import type { Bench, Measurement } from './bench.ts';
import { full } from './bench.ts';
import { benches } from './registry.ts';
import type { Row } from './table.ts';
import { failedRow, rowOf, tableText } from './table.ts';

const root = join(import.meta.dirname, '..', '..');
const file = join(root, 'bench.json');

const asked = (process.env['ONLY'] ?? '').split(',').filter((name) => name !== '');
const unknown = asked.filter((name) => !benches.some((bench) => bench.name === name));
if (unknown.length > 0) {
  console.error(`there is no bench ${unknown.join(', ')}; there are ${benches.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

const rows: Row[] = [];
for (const bench of benches.filter(({ name }) => asked.length === 0 || asked.includes(name))) {
  console.error(`${bench.name}: ${bench.what}, ${bench.at}`);
  const measured = await rowsOf(bench);
  console.error(tableText(measured));
  rows.push(...measured);
}
writeFileSync(file, `${JSON.stringify({ at: new Date().toISOString(), node: process.version, full, figures: rows }, null, 2)}\n`);
console.log(`\n${tableText(rows)}\n${file}`);
process.exitCode = rows.some(({ verdict }) => verdict === 'NOT MET' || verdict === 'FAILED') ? 1 : 0;

async function rowsOf(bench: Bench): Promise<Row[]> {
  try {
    return (await measure(bench)).map((measured) => rowOf(bench, measured));
  } catch (error) {
    return [failedRow(bench, error instanceof Error ? error.message : String(error))];
  }
}

async function measure({ name, asAgent = false }: Bench): Promise<readonly Measurement[]> {
  const child = fork(asAgent ? await bundled() : join(import.meta.dirname, 'measure.ts'), [name], { execArgv: asAgent ? agentFlags() : [], stdio: ['ignore', 2, 2, 'ipc'] });
  return await new Promise((resolve, reject) => {
    let measured: readonly Measurement[] | undefined;
    child.on('message', (message) => {
      measured = message as readonly Measurement[];
    });
    child.on('error', reject);
    child.on('close', (code, signal) => (measured === undefined ? reject(new Error(`it ended with ${signal ?? code} and no figure`)) : resolve(measured)));
  });
}

/** Without a JIT node reads no TypeScript. Beside the other bundles, where koffi is found. */
async function bundled(): Promise<string> {
  const outfile = join(root, 'dist', 'bench.cjs');
  await build({
    entryPoints: [join(import.meta.dirname, 'measure.ts')], outfile, bundle: true, platform: 'node', target: 'node24', format: 'cjs',
    external: ['koffi', '@kubernetes/client-node'], logLevel: 'warning', logOverride: { 'empty-import-meta': 'silent' },
  });
  return outfile;
}
