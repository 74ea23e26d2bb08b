import type { Document, Node } from 'yaml';
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments } from 'yaml';
import type { FieldPath, Problem } from './problem.ts';

/** One document of a YAML text. */
export interface PolicyDocument {
  readonly value: unknown;
  /** The line, from 1, that a field stands on; of the nearest field around it where it does not stand there itself. */
  lineOf(path: FieldPath): number;
}

export interface LineProblem extends Problem {
  readonly line: number;
}

/** kubectl's YAML knows no dates and no numbers in base 60: both are text there. */
const unknownToKubectl = new Set(['tag:yaml.org,2002:timestamp', 'TIME']);

/** Reads YAML 1.1 (and so JSON), as kubectl does, with any number of documents; empty ones are skipped, and a list is the objects in it. */
export function parsePolicyDocuments(text: string): { readonly documents: readonly PolicyDocument[]; readonly problems: readonly LineProblem[] } {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, {
    version: '1.1',
    lineCounter: lines,
    prettyErrors: false,
    customTags: (tags) => tags.filter((tag) => typeof tag === 'string' || !(unknownToKubectl.has(tag.tag) || unknownToKubectl.has(tag.format ?? ''))),
  });
  const documents: PolicyDocument[] = [];
  const problems: LineProblem[] = [];
  for (const document of Array.isArray(parsed) ? parsed : []) {
    const [error] = document.errors;
    if (error !== undefined) {
      problems.push({ line: lines.linePos(error.pos[0]).line, path: [], message: `this is not YAML: ${error.message}` });
      continue;
    }
    const lineOf = (path: FieldPath): number => lines.linePos(offsetOf(document, path)).line;
    try {
      const value: unknown = document.toJS({ maxAliasCount: 100 });
      if (value !== null) documents.push(...objectsIn({ value, lineOf }));
    } catch (problem) {
      problems.push({ line: lineOf([]), path: [], message: `this is not YAML: ${String((problem as Error).message)}` });
    }
  }
  return { documents, problems };
}

/** `kubectl get -o yaml` writes several objects as one `kind: List`, the API server as one `kind: CachePolicyList`. */
function objectsIn(document: PolicyDocument): readonly PolicyDocument[] {
  const { kind, items } = document.value as { readonly kind?: unknown; readonly items?: unknown };
  if (typeof kind !== 'string' || !kind.endsWith('List') || !Array.isArray(items)) return [document];
  return items.map((value: unknown, i) => ({ value, lineOf: (path) => document.lineOf(['items', i, ...path]) }));
}

function offsetOf(document: Document, path: FieldPath): number {
  let node: unknown = document.contents;
  let found = node as Node | null;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => (isScalar(key) ? String(key.value) : key) === step);
      if (pair === undefined) break;
      found = pair.key as Node;
      node = pair.value;
    } else if (isSeq(node) && typeof step === 'number') {
      node = node.items[step];
      if (node === undefined) break;
      found = node as Node;
    } else {
      break;
    }
  }
  return found?.range?.[0] ?? 0;
}
