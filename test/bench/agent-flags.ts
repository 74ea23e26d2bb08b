import { desiredChildren } from '../../src/controller/children.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { aPolicy } from '../controller/builders.ts';

interface Template {
  readonly spec: { readonly template: { readonly spec: { readonly containers: readonly [{ readonly command: readonly string[] }] } } };
}

/** The flags of node that the agents' pods run with. */
export function agentFlags(): string[] {
  const policy = aPolicy();
  const [, daemonSet] = desiredChildren({ policy, compiled: compilePolicy(policy, { accepted: true }), rootsInUse: [], namespace: 'n', image: 'i' });
  return (daemonSet as unknown as Template).spec.template.spec.containers[0].command.slice(1, -1);
}
