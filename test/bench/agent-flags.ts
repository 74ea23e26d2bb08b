import { desiredChildren } from '../../src/controller/children.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { aPolicy } from '../controller/builders.ts';

interface Container {
  readonly command: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
}

interface Template {
  readonly spec: { readonly template: { readonly spec: { readonly containers: readonly [Container] } } };
}

/** The flags of node that the agents' pods run with. */
export function agentFlags(): string[] {
  return agentContainer().command.slice(1, -1);
}

/** What of the pods' environment is the same in each. */
export function agentEnv(): Record<string, string> {
  return Object.fromEntries(agentContainer().env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])));
}

function agentContainer(): Container {
  const policy = aPolicy();
  const [, daemonSet] = desiredChildren({ policy, compiled: compilePolicy(policy, { accepted: true }), rootsInUse: [], namespace: 'n', image: 'i' });
  return (daemonSet as unknown as Template).spec.template.spec.containers[0];
}
