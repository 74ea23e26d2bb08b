/** Runs a command to its end. */
import { spawn } from 'node:child_process';

const KILL_AFTER_MS = 2_000;

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  readonly timeoutMs?: number;
  /** Ends the command; what is thrown is its reason, once the command has ended. */
  readonly signal?: AbortSignal | undefined;
}

/** @returns its standard output. @throws with the command and what it said on standard error when it fails. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  options.signal?.throwIfAborted();
  const child = spawn(command, args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs, killSignal: 'SIGKILL' as const }),
    env: options.env ?? process.env,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let kill: NodeJS.Timeout | undefined;
  const stop = () => {
    child.kill();
    kill = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
  };
  options.signal?.addEventListener('abort', stop);
  let output = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  // A command may end without reading its input.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject).once('close', (exitCode, exitSignal) => resolve([exitCode, exitSignal]));
  }).finally(() => {
    clearTimeout(kill);
    options.signal?.removeEventListener('abort', stop);
  });
  options.signal?.throwIfAborted();
  if (code !== 0) {
    throw new Error(`${[command, ...args].join(' ')} ended with ${signal ?? `status ${code}`}: ${(complaint || output).trim()}`);
  }
  return output;
}
