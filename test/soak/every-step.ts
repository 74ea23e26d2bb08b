import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Soak } from './soak.ts';
import { exactly } from './soak.ts';

export const everyStep: Soak = {
  name: 'every-step',
  about: 'the disk stops at every step of everything, and at twenty-five steps of what finishes that',
  run: async ({ progress }) => {
    const vitest = spawn('vitest', ['run', '--project', 'unit', '--reporter=dot', 'test/cache/crash.test.ts'], {
      cwd: join(import.meta.dirname, '../..'), env: { ...process.env, CRASH_PLACES: '25' }, stdio: ['ignore', 'ignore', 'inherit'],
    });
    progress('the crash tests with twenty-five times twenty-five stops');
    const code = await new Promise<number>((resolve) => vitest.on('close', (status) => resolve(status ?? 1)).on('error', () => resolve(1)));
    return [exactly('exit code of the crash tests', code, 0)];
  },
};
