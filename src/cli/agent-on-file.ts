import { loadAtRest } from '../agent/file-at-rest.ts';
import { runStandalone } from '../agent/standalone.ts';
import { createLog } from '../observe/log.ts';
import type { CompiledPolicy } from '../policy/compiled.ts';
import type { ExitCode } from './exit.ts';
import { exitCodes, InputError } from './exit.ts';
import type { Io } from './io.ts';
import type { LoadedPolicy } from './policy-files.ts';
import { loadPolicies } from './policy-files.ts';
import { tellNotes } from './notes.ts';

export interface AgentOnFileOptions {
  readonly file: readonly string[];
  readonly allowedRoot: readonly string[];
  /** ms */
  readonly rest: number;
  /** ms */
  readonly settle: number;
}

/** Enforces the policies of a file on this machine until it is stopped. */
export async function agentOnFile({ file, allowedRoot, rest, settle }: AgentOnFileOptions, io: Io): Promise<ExitCode> {
  const [only, ...more] = file;
  if (only === undefined || more.length > 0) throw new InputError(['agent: name one file with -f; it may hold several policies']);
  const load = () => loadPolicies([only], allowedRoot);
  const { loaded, mark } = await loadAtRest(only, load);
  tellNotes(loaded, { scheduleIgnored: false }, io);
  const options = {
    file: only, load: async () => compiledOf(await load()), first: { policies: compiledOf(loaded), mark },
    allowedRoots: allowedRoot, log: createLog(), restMs: rest, settleMs: settle,
  };
  await runStandalone(options, io.stopSignal());
  return exitCodes.done;
}

function compiledOf(loaded: readonly LoadedPolicy[]): CompiledPolicy[] {
  return loaded.map(({ compiled }) => compiled);
}
