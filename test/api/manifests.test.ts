import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { defaultAllowedRoots } from '../../src/api/names.ts';
import { InputError } from '../../src/cli/exit.ts';
import { loadPolicies } from '../../src/cli/policy-files.ts';

const manifests = join(import.meta.dirname, '../manifests');
const filesIn = (dir: string): string[] => readdirSync(join(manifests, dir)).toSorted();

/** `# schema|admission|accepted: what both the API server and the command line say`, and `# cli: …` where the command line has other words. */
function expected(text: string): { by: string; message: string } {
  const [, by = '', message = ''] = /^# (schema|admission|accepted): (.+)$/m.exec(text) ?? [];
  return { by, message: /^# cli: (.+)$/m.exec(text)?.[1] ?? message };
}

async function linesFor(file: string): Promise<readonly string[]> {
  try {
    await loadPolicies([file], defaultAllowedRoots);
    return [];
  } catch (error) {
    if (error instanceof InputError) return error.lines;
    throw error;
  }
}

/** The same files run against a real API server in test/integration. */
describe('the command line takes', () => {
  it.each(filesIn('valid'))('%s', async (name) => {
    expect(await linesFor(join(manifests, 'valid', name))).toEqual([]);
  });
});

describe('the command line refuses, in one line that names file, line and what is allowed,', () => {
  it.each(filesIn('invalid'))('%s', async (name) => {
    const file = join(manifests, 'invalid', name);
    const text = readFileSync(file, 'utf8');
    const { by, message } = expected(text);
    expect(by).not.toBe('');
    const lines = await linesFor(file);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(message);
    const line = Number(/^[^:]+:(\d+): /.exec(lines[0] ?? '')?.[1]);
    expect(line).toBeGreaterThan(0);
    expect(line).toBeLessThanOrEqual(text.trimEnd().split('\n').length);
  });
});
