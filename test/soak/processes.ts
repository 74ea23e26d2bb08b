import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { join } from 'node:path';

/** The processes of one run: none outlives it. */
export class Processes {
  readonly #all = new Set<ChildProcess>();
  #crashed: string | undefined;

  start<Event>(module: string, options: object, onEvent: (event: Event) => void): ChildProcess {
    const child = fork(join(import.meta.dirname, module), [JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#all.add(child);
    child.on('message', (event) => onEvent(event as Event));
    child.on('exit', (code, signal) => {
      this.#all.delete(child);
      if (code !== 0) this.#crashed ??= `${module} ended with ${code ?? signal}`;
    });
    return child;
  }

  throwIfCrashed(): void {
    if (this.#crashed !== undefined) throw new Error(this.#crashed);
  }

  /** Tells them to come to an end, and waits until they have. */
  async stop(children: readonly ChildProcess[]): Promise<void> {
    await Promise.all(children.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.send('stop');
      await ended;
    }));
    this.throwIfCrashed();
  }

  kill(): void {
    for (const child of this.#all) child.kill('SIGKILL');
  }
}
