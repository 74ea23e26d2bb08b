/**
 * Loaded into the controller with --require: how late its event loop turns, with and without the time for which the thread was ready to run and waited
 * for a core. A tick every 10 ms; on each signal SIGUSR2 the figures since the last one are appended to LOOP_DELAY_FILE.
 */
const { appendFileSync, readFileSync } = require('node:fs');

const tickMs = 10;
const schedstat = `/proc/self/task/${process.pid}/schedstat`;
let gross = [];
let net = [];
let dueMs = performance.now() + tickMs;
let waitedMs = runQueueWaitMs();

/** Nanoseconds on the run queue are the second figure. */
function runQueueWaitMs() {
  return Number(readFileSync(schedstat, 'utf8').split(' ')[1]) / 1e6;
}

setInterval(() => {
  const nowMs = performance.now();
  const waited = runQueueWaitMs();
  const lateMs = Math.max(0, nowMs - dueMs);
  gross.push(lateMs);
  net.push(Math.max(0, lateMs - (waited - waitedMs)));
  waitedMs = waited;
  dueMs = nowMs + tickMs;
}, tickMs).unref();

function summary(figures) {
  const sorted = figures.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

process.on('SIGUSR2', () => {
  appendFileSync(process.env.LOOP_DELAY_FILE, `${JSON.stringify({ ticks: gross.length, gross: summary(gross), net: summary(net) })}\n`);
  [gross, net] = [[], []];
});
