/**
 * Child processes that never outlive this one, whatever way it ends.
 *
 * The kernel ends them (`setpriv --pdeathsig`, util-linux) where that is at hand. Elsewhere a shell between the two holds the
 * reading end of a pipe: the pipe ends with this process, and the shell ends the child.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

export interface ChildOptions {
  /** For messages; default: the program's file name. */
  readonly name?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Where its output goes, appended. */
  readonly logFile: string;
  /** Keep its standard input open as a pipe. Default: empty. */
  readonly stdin?: 'pipe' | 'ignore';
  /** Time between SIGTERM and SIGKILL. Default 5000. */
  readonly stopDeadlineMs?: number;
  readonly guard?: Guard;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Child extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  readonly stdin: ChildProcess['stdin'];
  /** Settles when the process has ended. Never rejects. */
  readonly exited: Promise<Exit>;
  /** How it ended, or undefined while it runs. */
  readonly exit: Exit | undefined;
  /** The last lines of its output. */
  tail(lines?: number): string;
  kill(signal: NodeJS.Signals): void;
  /** SIGTERM, and SIGKILL after the deadline. Settles when it has ended. */
  stop(deadlineMs?: number): Promise<Exit>;
}

export type Guard = 'setpriv' | 'shell';

let guardFound: Guard | undefined;

/** How children are kept from outliving this process on this machine. */
export function availableGuard(): Guard {
  guardFound ??= spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true'], { stdio: 'ignore' }).status === 0 ? 'setpriv' : 'shell';
  return guardFound;
}

// fd 3 ends when the parent does. SIGTERM is passed on; the guard reads with a builtin, so nothing of it is left behind.
const GUARD_SCRIPT = `
"$@" 3<&- &
child=$!
trap 'kill -TERM $child 2>/dev/null' TERM
{ read -r nothing <&3; kill -KILL $child 2>/dev/null; } &
guard=$!
wait $child; status=$?
while kill -0 $child 2>/dev/null; do wait $child; status=$?; done
kill -KILL $guard 2>/dev/null
exit $status`;

function guarded(guard: Guard, command: string, args: readonly string[]): [string, string[]] {
  return guard === 'setpriv'
    ? ['setpriv', ['--pdeathsig', 'KILL', '--', command, ...args]]
    : ['sh', ['-c', GUARD_SCRIPT, 'guard', command, ...args]];
}

const running = new Set<Child>();

// For process.exit and uncaught errors; the guard does the same later, this does it before the exit handlers of others remove data.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Starts a process that ends with this one. @throws when the program cannot be started. */
export async function startChild(command: string, args: readonly string[], options: ChildOptions): Promise<Child> {
  const guard = options.guard ?? availableGuard();
  const [file, argv] = guarded(guard, command, args);
  const output = openSync(options.logFile, 'a');
  let child: ChildProcess;
  try {
    child = spawn(file, argv, {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: options.env ?? process.env,
      // Ctrl-C on a terminal is for this process alone: it ends its children in the right order.
      detached: true,
      stdio: [options.stdin ?? 'ignore', output, output, ...(guard === 'shell' ? (['pipe'] as const) : [])],
    });
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  } finally {
    closeSync(output);
  }
  return supervise(child, options.name ?? basename(command), options);
}

function supervise(child: ChildProcess, name: string, options: ChildOptions): Child {
  let exit: Exit | undefined;
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      exit = { code, signal };
      running.delete(self);
      resolve(exit);
    });
  });
  const self: Child = {
    name,
    pid: child.pid as number,
    logFile: options.logFile,
    stdin: child.stdin,
    exited,
    get exit() {
      return exit;
    },
    tail: (lines = 15) => readFileSync(options.logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n'),
    kill: (signal) => {
      if (exit === undefined) child.kill(signal);
      if (signal === 'SIGKILL') (child.stdio[3] as { destroy(): void } | null | undefined)?.destroy();
    },
    stop: async (deadlineMs = options.stopDeadlineMs ?? 5_000) => {
      if (exit === undefined) self.kill('SIGTERM');
      const deadline = setTimeout(() => self.kill('SIGKILL'), deadlineMs);
      try {
        return await exited;
      } finally {
        clearTimeout(deadline);
      }
    },
    [Symbol.asyncDispose]: async () => {
      await self.stop();
    },
  };
  running.add(self);
  return self;
}
