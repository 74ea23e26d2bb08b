/** Something that is wrong in an object that a person wrote. */
export interface Problem {
  /** From the object down: `['spec', 'caches', 0, 'limits']`. Empty for the object as a whole. */
  readonly path: FieldPath;
  /** The value where it is short, what is wrong with it, and what to write instead. */
  readonly message: string;
}

export type FieldPath = readonly (string | number)[];

/** `spec.caches[0].limits.maxBytes`, as Kubernetes writes it. */
export function formatPath(path: FieldPath): string {
  return path
    .map((step, i) => {
      if (typeof step === 'number') return `[${step}]`;
      if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(step)) return `[${JSON.stringify(step)}]`;
      return i === 0 ? step : `.${step}`;
    })
    .join('');
}

/** The other way round, for paths as this program writes them. */
export function parsePath(text: string): FieldPath {
  return [...text.matchAll(/\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]|([^.[\]]+)/g)].map(([, index, quoted, name]) =>
    index !== undefined ? Number(index) : quoted !== undefined ? (JSON.parse(quoted) as string) : (name ?? ''),
  );
}

/** A value within a sentence. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 100 ? text : `${text.slice(0, 97)}...`;
}

export function startsWith(path: FieldPath, prefix: FieldPath): boolean {
  return prefix.length <= path.length && prefix.every((step, i) => step === path[i]);
}
