// Loaded before the agent's own code: samples how late its loop turns, and what of that was waiting for a processor.
// At SIGUSR2 it writes [late ms, waited for a processor ms, on a processor ms, between two samples ms] of each sample so far to BENCH_SAMPLES.
const { openSync, readSync, writeFileSync } = require('node:fs');

const tickMs = 10;
const schedstat = openSync('/proc/self/schedstat', 'r');
const buffer = Buffer.alloc(128);
const samples = [];
let before = read();

function read() {
  const [onMs, waitMs] = buffer.toString('latin1', 0, readSync(schedstat, buffer, 0, buffer.length, 0)).split(' ').map((ns) => Number(ns) / 1e6);
  return { atMs: performance.now(), onMs, waitMs };
}

setInterval(() => {
  const now = read();
  const betweenMs = now.atMs - before.atMs;
  samples.push([Math.max(0, betweenMs - tickMs), now.waitMs - before.waitMs, now.onMs - before.onMs, betweenMs]);
  before = now;
}, tickMs).unref();

process.on('SIGUSR2', () => writeFileSync(process.env.BENCH_SAMPLES, JSON.stringify(samples)));
