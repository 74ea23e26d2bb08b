/** `make bench`: prints every figure beside its baseline and its target, and writes them to bench.json. BENCH_SECONDS shortens the long ones. */
import { writeFileSync } from 'node:fs';
import { report } from './figures.ts';
import { measureMemory } from './memory.ts';

const figures = await measureMemory(Number(process.env['BENCH_SECONDS'] ?? 600));
writeFileSync('bench.json', `${JSON.stringify({ at: new Date().toISOString(), node: process.version, figures }, undefined, 2)}\n`);
process.exitCode = report(figures) ? 0 : 1;
