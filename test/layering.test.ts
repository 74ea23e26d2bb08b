import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const src = join(import.meta.dirname, '../src');

/** What each layer may import besides itself. The first that matches a file is its layer; no line leads back up. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  'errors.ts': [],
  'version.ts': [],
  'api/': ['errors.ts'],
  'policy/': ['errors.ts', 'api/'],
  'observe/': ['errors.ts', 'api/'],
  'disk/': ['errors.ts', 'api/', 'policy/'],
  'cache/': ['errors.ts', 'api/', 'policy/', 'disk/'],
  'kube/': ['errors.ts', 'api/', 'observe/'],
  'controller/': ['errors.ts', 'api/', 'policy/', 'observe/', 'kube/'],
  'agent/in-cluster/': ['errors.ts', 'version.ts', 'api/', 'policy/', 'observe/', 'disk/', 'cache/', 'kube/', 'agent/'],
  // The agent's bundle: wires the loop to the cluster.
  'agent/main.ts': ['errors.ts', 'version.ts', 'observe/', 'agent/', 'agent/in-cluster/'],
  'agent/': ['errors.ts', 'version.ts', 'api/', 'policy/', 'observe/', 'disk/', 'cache/'],
  // The two commands that run in a cluster.
  'cli/controller.ts': ['errors.ts', 'version.ts', 'api/', 'observe/', 'kube/', 'controller/', 'agent/', 'cli/'],
  // Imports each command only when it is the one to run.
  'cli/program.ts': ['errors.ts', 'version.ts', 'api/', 'cli/', 'cli/controller.ts'],
  'cli/': ['errors.ts', 'version.ts', 'api/', 'policy/', 'observe/', 'disk/', 'cache/', 'agent/'],
  'main.ts': ['cli/', 'cli/program.ts'],
};

const layerOf = (file: string): string | undefined => Object.keys(allowed).find((layer) => file === layer || (layer.endsWith('/') && file.startsWith(layer)));

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts')).toSorted();

/** The files and packages that a file names in import, export … from and import(). */
function importsOf(file: string, { types }: { types: boolean }): string[] {
  const text = readFileSync(join(src, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  const found = text.matchAll(/(?:^|;)\s*(?:import|export)\s(?<type>type\s)?[^;'"]*?from\s*'(?<from>[^']+)'|^import\s*'(?<bare>[^']+)'|import\(\s*'(?<dynamic>[^']+)'\s*\)/gm);
  return [...found].flatMap(({ groups = {} }) => {
    if (groups['type'] !== undefined && !types) return [];
    const target = groups['from'] ?? groups['bare'] ?? groups['dynamic'] ?? '';
    return [target.startsWith('.') ? relative(src, join(src, dirname(file), target)) : target];
  });
}

function mayImport(layer: string, target: string): boolean {
  const other = files.includes(target) ? layerOf(target) : undefined;
  return other === undefined || other === layer || (allowed[layer] ?? []).includes(other);
}

/** Everything that is loaded, at once or later, when a file is. */
function reach(entry: string, seen = new Set<string>()): Set<string> {
  if (seen.has(entry)) return seen;
  seen.add(entry);
  if (files.includes(entry)) for (const target of importsOf(entry, { types: false })) reach(target, seen);
  return seen;
}

function tableText(): string {
  return Object.entries(allowed).map(([layer, below]) => `  ${layer} may import ${below.join(', ') || 'nothing'}`).join('\n');
}

describe('imports go one way', () => {
  it('every file belongs to a layer', () => {
    expect(files.filter((file) => layerOf(file) === undefined)).toEqual([]);
    expect(files.length).toBeGreaterThan(50);
  });

  it('every file imports only layers below its own', () => {
    const wrong = files.flatMap((file) => {
      const layer = layerOf(file) ?? '';
      return importsOf(file, { types: true })
        .filter((target) => !mayImport(layer, target))
        .map((target) => `${file} (layer ${layer}) imports ${target}`);
    });
    expect(wrong, `allowed:\n${tableText()}\n`).toEqual([]);
  });

  it('every imported file is there', () => {
    const missing = files.flatMap((file) =>
      importsOf(file, { types: true }).filter((target) => target.endsWith('.ts') && !files.includes(target)).map((target) => `${file} imports ${target}`));
    expect(missing).toEqual([]);
  });

  it('the table itself never leads back up', () => {
    const layers = Object.keys(allowed).filter((layer) => !layer.includes('.ts') || layer === 'errors.ts');
    const above = (layer: string, seen: string[] = []): boolean => (seen.includes(layer) ? true : (allowed[layer] ?? []).some((below) => above(below, [...seen, layer])));
    // agent/in-cluster builds on agent, and cli on both: no ring among them either.
    for (const layer of layers) expect(above(layer), layer).toBe(false);
  });
});

describe('what runs on one machine', () => {
  it.each(['cli/prune.ts', 'cli/plan.ts', 'cli/explain.ts', 'cli/stats.ts', 'cli/history.ts', 'cli/entry.ts', 'cli/agent-on-file.ts'])('%s never reaches the cluster', (entry) => {
    const loaded = [...reach(entry)];
    expect(loaded).toContain(entry);
    expect(loaded).toContain('disk/pinned-root.ts');
    expect(loaded.filter((file) => file.startsWith('kube/') || file.startsWith('controller/') || file.startsWith('@kubernetes/') || /^node:(https?|http2|net|tls)$/.test(file))).toEqual([]);
  });

  it('the agent in a pod never loads what only the controller and the command line need', () => {
    const loaded = [...reach('agent/main.ts')];
    expect(loaded).toContain('kube/client.ts');
    expect(loaded.filter((file) => file.startsWith('@kubernetes/') || file.startsWith('controller/') || file.startsWith('cli/') || ['fs-extra', 'yaml', 'ajv', 'commander'].includes(file))).toEqual([]);
  });
});

describe('the sources', () => {
  const textOf = (file: string): string => readFileSync(join(src, file), 'utf8');

  it('decide without touching disk, network, clock or timers', () => {
    const policy = files.filter((file) => file.startsWith('policy/'));
    expect(policy.length).toBeGreaterThan(10);
    const impure = policy.filter((file) =>
      importsOf(file, { types: true }).some((target) => /^(node:)?(fs|net|http|https|child_process|timers|os|worker_threads)/.test(target)) ||
      /\bDate\.now\(|\bnew Date\(\)|\bsetTimeout\(|\bsetInterval\(|\bperformance\.now\(|\bMath\.random\(|\bprocess\./.test(textOf(file)));
    expect(impure).toEqual([]);
  });

  it('delete nothing recursively by path', () => {
    expect(files.filter((file) => /\brmSync\b|\brimraf\b|\bfs\.rm\b|\brm\(|\bremoveSync\b|\bemptyDir/.test(textOf(file)))).toEqual([]);
  });

  it('have no file of more than 300 lines, but for generated ones', () => {
    expect(files.filter((file) => !file.endsWith('.gen.ts') && textOf(file).trimEnd().split('\n').length > 300)).toEqual([]);
  });
});
