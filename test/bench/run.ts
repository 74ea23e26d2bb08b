/** `make bench`: prints every figure beside its baseline and its target, and writes them to bench.json. BENCH_SECONDS shortens the long ones. */
import fse from 'fs-extra';
import { report } from './figures.ts';
import { measureMemory } from './memory.ts';

const figures = await measureMemory(Number(process.env['BENCH_SECONDS'] ?? 600));
fse.writeJsonSync('bench.json', { at: new Date().toISOString(), node: process.version, figures }, { spaces: 2 });
process.exitCode = report(figures) ? 0 : 1;
