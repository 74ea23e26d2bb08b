import { Environment } from '@marcbachmann/cel-js';
import type { CrdSchema } from './crd-schema.ts';
import { visit } from './crd-schema.ts';
import type { Problem } from './problem.ts';
import { quote, startsWith } from './problem.ts';
import { parseQuantity } from './quantity.ts';

/** Kubernetes' quantity as far as the rules use it. */
class Quantity {
  readonly bytes: number;

  constructor(text: string) {
    this.bytes = parseQuantity(text) ?? Infinity;
  }
}

const environment = new Environment()
  .registerVariable('self', 'dyn')
  .registerType('Quantity', { ctor: Quantity, fields: {} })
  .registerFunction('quantity(string): Quantity', (text: string) => new Quantity(text))
  .registerFunction('Quantity.compareTo(Quantity): int', (a: Quantity, b: Quantity) => BigInt(Math.sign(a.bytes === b.bytes ? 0 : a.bytes - b.bytes)));

/** Runs the schema's own x-kubernetes-validations, except where the value is already known to have the wrong shape. */
export function checkRules(schema: CrdSchema, value: unknown, wrongShape: readonly Problem[]): Problem[] {
  const problems: Problem[] = [];
  visit(schema, value, [], (at, found, path) => {
    if (wrongShape.some((problem) => startsWith(problem.path, path) || startsWith(path, problem.path))) return;
    for (const { rule, message } of at['x-kubernetes-validations'] ?? []) {
      if (holds(rule, found)) continue;
      problems.push({ path, message: typeof found === 'object' ? message : `${quote(found)}: ${message}` });
    }
  });
  return problems;
}

/** A rule that cannot be evaluated (an unknown time zone, a missing field) is broken: the API server says so too. */
function holds(rule: string, self: unknown): boolean {
  try {
    return environment.evaluate(rule, { self: toCel(self) }) === true;
  } catch {
    return false;
  }
}

/** CEL tells int from double; in JSON both are numbers. */
function toCel(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(toCel);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, child]) => [name, toCel(child)]));
}
