/** Takes one line of progress, without its newline. */
export type Log = (line: string) => void;

export const silent: Log = () => {};

/** Lines on standard error, each with the seconds since the program began. */
export const stderrLog: Log = (line) => {
  process.stderr.write(`${process.uptime().toFixed(1).padStart(6)}s ${line}\n`);
};

const TICK_ON_TERMINAL_MS = 1_000;
const TICK_IN_FILE_MS = 30_000;

/**
 * Runs `work` and shows that it goes on: on a terminal the line's elapsed seconds tick, elsewhere a line every 30 s.
 * @param what what is being done, such as `build kubectl (6 of 6)`.
 */
export async function withProgress<T>(log: Log, what: string, work: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  const elapsed = () => `${((performance.now() - startedAt) / 1000).toFixed(0)} s`;
  const onTerminal = log === stderrLog && process.stderr.isTTY;
  if (!onTerminal) log(`${what} …`);
  const tick = () => (onTerminal ? process.stderr.write(`\r        ${what} … ${elapsed()}\u001b[K`) : log(`${what} … ${elapsed()}`));
  const timer = setInterval(tick, onTerminal ? TICK_ON_TERMINAL_MS : TICK_IN_FILE_MS);
  try {
    const result = await work();
    if (onTerminal) process.stderr.write('\r\u001b[K');
    log(`${what}: done in ${elapsed()}`);
    return result;
  } catch (error) {
    if (onTerminal) process.stderr.write('\r\u001b[K');
    log(`${what}: failed after ${elapsed()}`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}
