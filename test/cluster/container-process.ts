/** What a container's spec means for a local process: its arguments, its environment, and where the paths of its image lie here. */
import { join } from 'node:path';

import type { V1Container, V1EnvVar } from '@kubernetes/client-node';

import type { Pod } from './pod.ts';

/** What stands for an image: which of its paths lie where on this machine. */
export interface LocalImage {
  /** For containers without a command. Paths of the image. */
  readonly entrypoint?: readonly string[];
  /** A path of the image, which stands for all below it too, and where it lies here. */
  readonly files: Readonly<Record<string, string>>;
}

/** Paths inside a container, and where they lie on this machine. */
export type PathMap = ReadonlyMap<string, string>;

export interface ContainerProcess {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface ProcessInputs {
  readonly pod: Pod;
  readonly container: V1Container;
  readonly image: LocalImage;
  /** Mount paths of volumes that are not host paths. */
  readonly mounts: PathMap;
  readonly podIP: string;
  readonly hostIP: string;
  /** Set before the container's own, as kubelet and the process node do. */
  readonly baseEnv: Readonly<Record<string, string>>;
}

/** @throws with the field that a process node does not know. */
export function containerProcess(inputs: ProcessInputs): ContainerProcess {
  const { container, image, mounts } = inputs;
  const env: Record<string, string> = { ...inputs.baseEnv };
  for (const variable of container.env ?? []) env[variable.name] = expand(valueOf(variable, inputs), env);
  const command = container.command ?? image.entrypoint ?? [];
  if (command.length === 0) throw new Error(`container ${container.name} has no command, and its image no entrypoint`);
  const paths: PathMap = new Map([...Object.entries(image.files), ...mounts]);
  const argv = [...command, ...(container.args ?? [])].map((argument) => localPath(expand(argument, env), paths));
  return { argv, env };
}

function valueOf(variable: V1EnvVar, { pod, podIP, hostIP }: ProcessInputs): string {
  const fieldPath = variable.valueFrom?.fieldRef?.fieldPath;
  if (fieldPath !== undefined) return podField(pod, fieldPath, { podIP, hostIP });
  if (variable.valueFrom !== undefined) throw new Error(`process nodes know no ${Object.keys(variable.valueFrom).join()} for ${variable.name}`);
  return variable.value ?? '';
}

/** The downward API. @throws for fields it does not have here. */
export function podField(pod: Pod, fieldPath: string, addresses?: { readonly podIP: string; readonly hostIP: string }): string {
  const { metadata, spec } = pod;
  const annotated = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(fieldPath);
  if (annotated !== null) return metadata[annotated[1] as 'labels' | 'annotations']?.[annotated[2] as string] ?? '';
  const value = {
    'metadata.name': metadata.name,
    'metadata.namespace': metadata.namespace,
    'metadata.uid': metadata.uid,
    'spec.nodeName': spec.nodeName,
    'spec.serviceAccountName': spec.serviceAccountName,
    'status.podIP': addresses?.podIP,
    'status.hostIP': addresses?.hostIP,
  }[fieldPath];
  if (value === undefined) throw new Error(`process nodes know no field ${fieldPath}`);
  return value;
}

/** `$(NAME)` is the variable, `$$(NAME)` the text; an unknown name stays as it is. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$(\$)?\(([A-Za-z_][\w.-]*)\)/g, (whole, escaped: string | undefined, name: string) =>
    escaped === undefined ? (env[name] ?? whole) : whole.slice(1),
  );
}

/** A path, or the path after `--flag=`, as it lies on this machine; other arguments as they are. */
export function localPath(argument: string, paths: PathMap): string {
  const [, flag = '', path = ''] = /^(-[^=]*=)?(\/.*)$/.exec(argument) ?? [];
  const longestFirst = [...paths].toSorted(([a], [b]) => b.length - a.length);
  const place = longestFirst.find(([prefix]) => path === prefix || path.startsWith(`${prefix}/`));
  return place === undefined ? argument : flag + join(place[1], path.slice(place[0].length));
}
