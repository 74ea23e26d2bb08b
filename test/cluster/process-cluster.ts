/** A control plane and process nodes: a cluster that needs no root. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { startControlPlane, type ControlPlane } from './control-plane.ts';
import type { LocalImage } from './container-process.ts';
import { localOperatorImage, operatorImage } from './image.ts';
import { silent, type Log } from './log.ts';
import { startProcessNode, type ProcessNode } from './process-node.ts';

export interface ProcessClusterOptions {
  /** How many. They are named `node-1` and so on. */
  readonly nodes: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Called with the host root of each node before the node registers. */
  readonly prepareHostRoot?: (hostRoot: string) => void;
  /** Besides the operator's, which is what `make build` left. */
  readonly images?: Readonly<Record<string, LocalImage>>;
  /** Ends the start: what was started is stopped again. */
  readonly signal?: AbortSignal | undefined;
  readonly log?: Log;
}

export interface ProcessCluster extends AsyncDisposable {
  readonly controlPlane: ControlPlane;
  readonly nodes: readonly ProcessNode[];
  stop(): Promise<void>;
}

/** Starts a control plane and nodes that have the operator's image: the bundles of `make build`. */
export async function startProcessCluster(options: ProcessClusterOptions): Promise<ProcessCluster> {
  const { nodes: count, labels = {}, prepareHostRoot, images = {}, signal, log = silent } = options;
  // What was started is stopped in the opposite order, also when something below fails.
  await using started = new AsyncDisposableStack();
  const controlPlane = started.use(await startControlPlane({ log, signal }));
  const nodes: ProcessNode[] = [];
  for (let number = 1; number <= count; number++) {
    signal?.throwIfAborted();
    const name = `node-${number}`;
    const dir = controlPlane.runDir.dir('nodes', name);
    const hostRoot = join(dir, 'root');
    mkdirSync(hostRoot);
    prepareHostRoot?.(hostRoot);
    const node = await startProcessNode({ name, controlPlane, labels, hostRoot, dir: join(dir, 'pods'), images: { [operatorImage]: localOperatorImage, ...images }, log });
    // The whole cluster goes: nobody needs to be told that the pods do.
    started.defer(() => node.crash());
    nodes.push(node);
  }
  const stack = started.move();
  return { controlPlane, nodes, stop: () => stack.disposeAsync(), [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
