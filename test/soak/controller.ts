import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Soak } from './soak.ts';
import { atLeast, exactly, TemporaryDir } from './soak.ts';

/** Integration tests that do more with SOAK=1. */
const files = ['controller-faults', 'specs', 'dead-node'];

export const controller: Soak = {
  name: 'controller',
  about: 'the controller dies at every write and misses every single event, and 2,000 pairs of changes come and go',
  async run({ scale }) {
    using dir = new TemporaryDir();
    const results = join(dir.path, 'results.json');
    const args = ['run', '--project', 'integration', '--reporter=default', '--reporter=json', `--outputFile.json=${results}`, ...files.map((file) => `test/integration/${file}.test.ts`)];
    // Tried out with less than the full scale it is what `make test` does.
    const env = scale < 1 ? process.env : { ...process.env, SOAK: '1' };
    await new Promise<void>((resolve, reject) => spawn('vitest', args, { stdio: 'inherit', env }).on('close', () => resolve()).on('error', reject));
    const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(results, 'utf8')) as { numPassedTests: number; numFailedTests: number };
    return [atLeast('tests that passed', numPassedTests, files.length), exactly('tests that failed', numFailedTests, 0)];
  },
};
