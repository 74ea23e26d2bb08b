import { runInCluster } from '../agent/in-cluster/agent.ts';
import { createLog } from '../observe/log.ts';
import { version } from '../version.ts';
import type { ExitCode } from './exit.ts';
import { exitCodes, InputError } from './exit.ts';
import type { Io } from './io.ts';

export interface AgentInClusterOptions {
  readonly policy?: string;
  readonly config?: string;
  readonly listen: string;
  readonly allowedRoot: readonly string[];
}

/** The agent of one policy on the node of this pod, until it is told to stop. */
export async function agentInCluster({ policy, config, listen, allowedRoot }: AgentInClusterOptions, io: Io): Promise<ExitCode> {
  if (policy === undefined || config === undefined) throw new InputError(['agent: name a file with -f, or in a pod --policy NAME and --config FILE']);
  await runInCluster({ policyName: policy, mountedFile: config, allowedRoots: allowedRoot, listen, agentVersion: version, log: createLog() }, io.stopSignal());
  return exitCodes.done;
}
