import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

interface Sample {
  readonly handles: number;
  readonly memoryMiB: number;
}

/** What the pod of an agent may do, and what root may do who starts one by hand. */
const wrappers = [
  ['setpriv', '--no-new-privs', '--bounding-set=-all,+dac_override,+fowner,+lease'],
  ['setpriv', '--no-new-privs'],
];

/** A standalone agent that is killed, stopped and started again, with what it wrote and what it holds. */
export class MutatedAgent {
  /** Ends that no kill of ours explains. */
  readonly ends: string[] = [];
  logLines = 0;
  logBytes = 0;
  evicted = 0;
  readonly #args: readonly string[];
  #child!: ChildProcess;
  #killed = false;
  #starts = 0;
  #lastLines = '';
  #samples: Sample[] = [];

  constructor(args: readonly string[]) {
    this.#args = args;
    this.start();
  }

  start(): void {
    const [file, ...args] = wrappers[this.#starts % wrappers.length]!;
    this.#starts += 1;
    this.#killed = false;
    this.#samples = [];
    const child = spawn(file!, [...args, process.execPath, ...this.#args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const onText = (text: Buffer) => {
      const lines = text.toString();
      this.logBytes += text.length;
      this.logLines += lines.split('\n').length - 1;
      this.evicted += lines.split('"evicted"').length - 1;
      this.#lastLines = (this.#lastLines + lines).slice(-4_000);
      if (process.env['MUTATIONS_LOG'] !== undefined) process.stderr.write(text);
    };
    child.stdout.on('data', onText);
    child.stderr.on('data', onText);
    child.on('exit', (code, signal) => {
      if (child !== this.#child || this.#killed) return;
      this.ends.push(`${code ?? signal}: ${this.#lastLines.slice(-600)}`);
      this.start();
    });
    this.#child = child;
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(name);
  }

  kill(): void {
    this.#killed = true;
    this.#child.kill('SIGKILL');
  }

  sample(): void {
    try {
      const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
      const kib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
      this.#samples.push({ handles: readdirSync(`/proc/${this.#child.pid}/fd`).length, memoryMiB: kib / 1024 });
    } catch {
      // It is between two lives.
    }
  }

  /** Of the last agent: the median of the last quarter of its samples, less that of the second quarter; the first is its start. */
  get growth(): Sample {
    const quarter = Math.floor(this.#samples.length / 4);
    const early = this.#samples.slice(quarter, 2 * quarter);
    const late = this.#samples.slice(-quarter);
    const of = (figure: keyof Sample) => (quarter === 0 ? 0 : median(late.map((each) => each[figure])) - median(early.map((each) => each[figure])));
    return { handles: of('handles'), memoryMiB: of('memoryMiB') };
  }

  get memoryMiB(): number {
    return this.#samples.at(-1)?.memoryMiB ?? 0;
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}
