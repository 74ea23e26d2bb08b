import { runStandalone, runStandaloneOnce } from '../agent/standalone.ts';
import { createLog } from '../observe/log.ts';
import type { ExitCode } from './exit.ts';
import { exitCodes, InputError } from './exit.ts';
import type { Io } from './io.ts';
import { loadPolicies } from './policy-files.ts';
import { tellNotes } from './notes.ts';

export interface AgentOnFileOptions {
  readonly file: readonly string[];
  readonly allowedRoot: readonly string[];
  readonly once?: boolean;
  /** ms */
  readonly rest: number;
  /** ms */
  readonly settle: number;
}

/** Enforces the policies of a file on this machine until it is told to stop, or once. */
export async function agentOnFile({ file, allowedRoot, once = false, rest, settle }: AgentOnFileOptions, io: Io): Promise<ExitCode> {
  const [only, ...more] = file;
  if (only === undefined || more.length > 0) throw new InputError(['agent: name one file with -f; it may hold several policies']);
  let fresh = await loadPolicies([only], allowedRoot);
  tellNotes(fresh, { scheduleIgnored: once }, io);
  // Standard input can be read only once, so what was checked is what is used first.
  const load = async () => {
    const loaded = fresh.length > 0 ? fresh : await loadPolicies([only], allowedRoot);
    fresh = [];
    return loaded.map(({ compiled }) => compiled);
  };
  const options = { file: only, load, allowedRoots: allowedRoot, log: createLog(), restMs: rest, settleMs: settle };
  if (once) return (await runStandaloneOnce(options, io.stopSignal())) ? exitCodes.done : exitCodes.failed;
  await runStandalone(options, io.stopSignal());
  return exitCodes.done;
}
