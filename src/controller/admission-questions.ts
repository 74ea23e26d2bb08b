/** What the admission policies have to refuse and to take where they agree with the controller. Pure but for `ask`. The words are those of deploy/admission.yaml. */
import { apiVersion, controllerFieldManager } from '../api/names.ts';
import type { CachePolicy } from '../api/cachepolicy.gen.ts';
import type { KubeClient, WriteOptions } from '../kube/client.ts';
import type { KubeObject } from '../kube/objects.ts';
import { cachePolicies, configMaps, daemonSets } from '../kube/resource.ts';
import { compilePolicy } from '../policy/compile.ts';
import { desiredChildren } from './children.ts';

export interface AdmissionQuestion {
  /** The object that is asked for, for people. */
  readonly what: string;
  readonly ask: (options: WriteOptions & { readonly dryRun: true }) => Promise<unknown>;
  /** How the answer differs from what it should be; empty where it does not. */
  readonly differences: (answer: 'taken' | { readonly refusal: string }) => readonly string[];
}

export interface AdmissionQuestionsInput {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly image: string;
  readonly allowedRoots: readonly string[];
}

/** A name that no CachePolicy can have: the CRD keeps it for the operator. */
const reservedName = 'allowed-roots';
/** Below no allowed root that anybody would choose. */
const pathBeyond = '/cachepolicy-admission-check/cache';

export function admissionQuestions({ client, namespace, image, allowedRoots }: AdmissionQuestionsInput): readonly AdmissionQuestion[] {
  const allowed = `allowed are ${allowedRoots.join(', ') || 'none'}`;
  const apply = (object: KubeObject) => (options: WriteOptions) =>
    client.apply(object.kind === 'DaemonSet' ? daemonSets : configMaps, object, { ...options, fieldManager: controllerFieldManager });
  const agents = (but: { image?: string; roots?: readonly string[] } = {}) => agentsOf({ namespace, image: but.image ?? image, roots: but.roots ?? [...new Set(allowedRoots)] });
  return [
    refuses('a CachePolicy beyond the allowed roots', (options) => client.create(cachePolicies, policyAt(pathBeyond), options), allowed),
    refuses('agents that mount the whole node', apply(agents({ roots: ['/'] })), allowed),
    refuses('agents of another image', apply(agents({ image: `${image}.admission-check` })), `the annotation cache.a3s.dev/agent-image of its namespace names: ${image}`),
    refuses('privileged agents', apply(privileged(agents())), 'and is not privileged'),
    refuses('a ConfigMap of no policy', apply(configMapOf(namespace)), 'never the allowed roots'),
    {
      what: 'agents as the controller makes them',
      ask: apply(agents()),
      differences: (answer) => (answer === 'taken' ? [] : [`admission refuses agents as the controller makes them: ${answer.refusal}`]),
    },
  ];
}

function refuses(what: string, ask: AdmissionQuestion['ask'], words: string): AdmissionQuestion {
  return {
    what, ask,
    differences: (answer) => {
      if (answer === 'taken') return [`admission takes ${what}: the policy that refuses it, or its binding, is missing or changed`];
      return answer.refusal.endsWith(words) ? [] : [`admission says "${answer.refusal}" where the controller goes by "${words}"`];
    },
  };
}

function policyAt(path: string): CachePolicy & KubeObject {
  const caches = [{ name: 'admission-check', directory: { path }, limits: { maxEntries: 1 }, protect: { minIdle: '60s' } }];
  return { apiVersion, kind: 'CachePolicy', metadata: { name: 'cachepolicy-admission-check' }, spec: { mode: 'Suspended', caches, rollout: { maxUnavailable: '10%' } } };
}

/** Those of a policy with a `directory` cache, which have every capability that agents can have. */
function agentsOf({ namespace, image, roots }: { namespace: string; image: string; roots: readonly string[] }): KubeObject {
  const policy = { ...policyAt(pathBeyond), metadata: { name: reservedName, uid: '00000000-0000-0000-0000-000000000000', generation: 1 } };
  const children = desiredChildren({ policy, compiled: compilePolicy(policy, { accepted: false }), rootsInUse: roots, namespace, image });
  return children.find(({ kind }) => kind === 'DaemonSet') as KubeObject;
}

function privileged(daemonSet: KubeObject): KubeObject {
  const changed = structuredClone(daemonSet) as KubeObject & { spec: { template: { spec: { containers: { securityContext: object }[] } } } };
  for (const container of changed.spec.template.spec.containers) container.securityContext = { ...container.securityContext, allowPrivilegeEscalation: true, privileged: true };
  return changed;
}

function configMapOf(namespace: string): KubeObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `cachepolicy-${reservedName}`, namespace } };
}
