/** Finds what a test cluster has left on this machine. Everything it makes carries the name of its run. */
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessFound {
  readonly pid: number;
  readonly command: string;
}

/** Processes whose arguments contain the text, this one excepted. */
export function processesNaming(text: string): ProcessFound[] {
  const found: ProcessFound[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const command = readIfPresent(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
    if (command.includes(text)) found.push({ pid, command });
  }
  return found;
}

/** A process may end while it is looked at. */
function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
