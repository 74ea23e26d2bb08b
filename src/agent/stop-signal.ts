/**
 * Aborts at the first SIGTERM, SIGINT or SIGHUP. A second SIGTERM or SIGINT of the same kind ends the process at once; a second SIGHUP does not,
 * because a terminal that closes sends it twice (kernel and shell), and systemd may send it right after SIGTERM.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = () => controller.abort();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, stop);
  // What started this process under nohup(1) wants it to outlive its terminal. Node resets ignored signals, so the launcher passes it on.
  process.on('SIGHUP', process.env['CACHEPOLICY_NOHUP'] === '1' ? () => {} : stop);
  return controller.signal;
}
