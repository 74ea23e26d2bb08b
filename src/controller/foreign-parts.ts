import { plainText } from '../api/plain-text.ts';
import type { KubeObject } from '../kube/objects.ts';

type Named = { readonly name: string };
interface Workload extends KubeObject {
  readonly spec?: { readonly template?: { readonly spec?: { readonly containers?: Named[]; readonly initContainers?: Named[]; readonly volumes?: Named[] } } };
}

const lists = { containers: 'container', initContainers: 'init container', volumes: 'volume' } as const;

/**
 * Names what somebody else put into the pods of a DaemonSet: server-side apply leaves it there, and then admission refuses every change of the whole.
 * @returns a sentence with what to do; undefined where there is nothing
 */
export function foreignParts(present: KubeObject | undefined, wanted: KubeObject): string | undefined {
  if (present === undefined) return undefined;
  const [had, own] = [podOf(present), podOf(wanted)];
  const parts = Object.entries(lists).flatMap(([list, word]) => {
    const names = new Set(own[list as keyof typeof lists]?.map(({ name }) => name));
    return (had[list as keyof typeof lists] ?? []).filter(({ name }) => !names.has(name)).map(({ name }) => `${word} ${plainText(name, 63)}`);
  });
  if (parts.length === 0) return undefined;
  const { name, namespace } = wanted.metadata;
  const what = parts.slice(0, 3).join(', ') + (parts.length > 3 ? ` and ${parts.length - 3} more` : '');
  return `DaemonSet ${name} has ${what}, which the operator did not put there; stop what adds it, then delete the DaemonSet (kubectl -n ${namespace} delete daemonset ${name}), and it is made again without`;
}

function podOf(object: KubeObject) {
  return (object as Workload).spec?.template?.spec ?? {};
}
