/** The agent's own bundle: only what a pod needs, so that it stays small. `cachepolicy agent` is the same program with a command line for people. */
import { parseArgs } from 'node:util';
import { errorKinds, messageOf, OperatorError } from '../errors.ts';
import { createLog } from '../observe/log.ts';
import { runInCluster } from './in-cluster/agent.ts';
import { stopSignal } from './stop-signal.ts';
import { version } from '../version.ts';

/** Not at the top level: the bundle is CommonJS, where nothing can be awaited there. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      policy: { type: 'string' },
      config: { type: 'string' },
      listen: { type: 'string', default: ':8080' },
      'allowed-root': { type: 'string', multiple: true, default: [] },
    },
  });
  if (values.policy === undefined || values.config === undefined) throw new OperatorError('ERR_INPUT_INVALID', '--policy NAME and --config FILE are needed');
  await runInCluster({
    policyName: values.policy, mountedFile: values.config, allowedRoots: values['allowed-root'], listen: values.listen, agentVersion: version, log,
  }, stopSignal());
}

const log = createLog();
main().catch((error: unknown) => {
  log.error({ err: error }, messageOf(error));
  process.exitCode = error instanceof OperatorError && errorKinds[error.code].audience === 'user' ? 2 : 1;
});
