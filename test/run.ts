/**
 * Runs the suites one after another and ends with `N passed, N failed` over all of them.
 * A suite that cannot run on this machine is named with the reason; with REQUIRE=all it counts as one failure.
 * RETRY=1 gives each failing test a second try, and names those that needed it.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suites } from './suites.ts';
import type { Suite } from './suites.ts';

interface Count {
  passed: number;
  failed: number;
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !suites.some((suite) => suite.name === name));
if (unknown.length > 0) {
  console.error(`there is no suite ${unknown.join(', ')}; there are ${suites.map((suite) => suite.name).join(', ')}`);
  process.exit(2);
}

const scratch = mkdtempSync(join(tmpdir(), 'cachepolicy-test-'));
const total: Count = { passed: 0, failed: 0 };
const lines: string[] = [];
for (const suite of suites.filter(({ name }) => asked.length === 0 || asked.includes(name))) {
  const obstacle = await suite.obstacle();
  const startedAt = performance.now();
  const count = obstacle === undefined ? await run(suite) : { passed: 0, failed: process.env['REQUIRE'] === 'all' ? 1 : 0 };
  total.passed += count.passed;
  total.failed += count.failed;
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  lines.push(obstacle === undefined ? `${suite.name}: ${count.passed} passed, ${count.failed} failed in ${seconds} s` : `${suite.name}: not run: ${obstacle}`);
}
rmSync(scratch, { recursive: true, force: true });
console.log(`\n${lines.join('\n')}\n${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 ? 1 : 0;

async function run(suite: Suite): Promise<Count> {
  const results = join(scratch, `${suite.name}.json`);
  const args = ['run', '--project', suite.name, `--retry=${process.env['RETRY'] ?? 0}`, '--reporter=default', '--reporter=./test/flaky-reporter.ts', '--reporter=json', `--outputFile.json=${results}`];
  const code = await new Promise<number>((resolve) => spawn('vitest', args, { stdio: 'inherit' }).on('close', (status) => resolve(status ?? 1)).on('error', () => resolve(1)));
  try {
    const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(results, 'utf8')) as { numPassedTests: number; numFailedTests: number };
    // A file that cannot even be loaded, or a failing teardown, has no failed test of its own.
    return { passed: numPassedTests, failed: Math.max(numFailedTests, code === 0 ? 0 : 1) };
  } catch {
    console.error(`${suite.name}: vitest left no result`);
    return { passed: 0, failed: 1 };
  }
}
