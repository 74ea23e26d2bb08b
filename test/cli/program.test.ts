import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { OperatorError } from '../../src/errors.ts';
import { tellFailure } from '../../src/cli/exit.ts';
import { runCommandLine } from '../../src/cli/program.ts';
import { Recorder } from './recorder.ts';

async function run(...args: string[]) {
  const io = new Recorder();
  const code = await runCommandLine(args, io);
  return { code, stdout: io.stdout, stderr: io.stderr };
}

describe('the command line', () => {
  it('tells its version', async () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as { version: string };
    expect(await run('--version')).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it.each([[['--help']], [['prune', '--help']], [['plan', '--help']], [['explain', '--help']], [['stats', '--help']], [['entry', '--help']], [['agent', '--help']]])(
    'teaches with examples: %j', async (args) => {
      const { code, stdout } = await run(...args);
      expect(code).toBe(0);
      expect(stdout).toMatch(/Examples?:\n {2}cachepolicy /);
    });

  it('tells every command what its exit status means', async () => {
    expect((await run('--help')).stdout).toContain('Exit status: 0 done; 1 something failed, all else was still done; 2 the input is wrong, nothing was touched;\n3 (plan, prune) nothing failed, and a limit is not met all the same; 130 stopped by a signal, what was done until then is told.');
  });

  it.each([
    '', 'bogus', 'prune', 'plan --file', 'prune -f x --rest long', 'prune -f x --settle -1s', 'entry', 'entry get', 'entry bogus', 'agent', 'agent -f x --policy y',
  ])(
    'refuses "%s" with status 2', async (line) => {
      const { code, stdout, stderr } = await run(...line.split(' ').filter((arg) => arg !== ''));
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
      expect(stderr).not.toBe('');
      expect(stderr).not.toMatch(/\n\s+at /);
    });
});

describe('what ends a command is told', () => {
  function told(error: unknown) {
    const io = new Recorder();
    return { code: tellFailure(error, io), stderr: io.stderr };
  }

  it('with the hint of its code, and as a failure', () => {
    expect(told(new OperatorError('ERR_DISK_IO', 'cannot read /x: input/output error (EIO)'))).toEqual({
      code: 1, stderr: 'cannot read /x: input/output error (EIO) (look at the health of the filesystem)\n',
    });
  });

  it('as wrong input where that is what it is', () => {
    expect(told(new OperatorError('ERR_INPUT_UNREADABLE', 'x.yaml: no such file')).code).toBe(2);
    expect(told(new OperatorError('ERR_ENTRY_IN_USE', 'x is in use')).code).toBe(1);
  });

  it('in one line that can be reported where nobody expected it', () => {
    const { code, stderr } = told(new TypeError('x is\nundefined'));
    expect(code).toBe(1);
    expect(stderr).toMatch(/^internal error: x is\\nundefined at .*; please report it with this line\n$/);
    expect(told('thrown text').stderr).toBe('internal error: thrown text; please report it with this line\n');
  });
});
