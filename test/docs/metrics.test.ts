import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AgentMetrics } from '../../src/agent/metrics.ts';
import { countRequests, meterWork } from '../../src/kube/metrics.ts';
import { Metrics, timeLoop } from '../../src/observe/metrics.ts';
import { triggers } from '../../src/cache/report.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/metrics.md'), 'utf8');

/** Name, type and labels of each row of a section. */
function documented(section: string): string[] {
  const text = page.split(/^## /m).find((each) => each.startsWith(section)) ?? '';
  return [...text.matchAll(/^\| `(\w+)` \| (\w+) \| ([\w, ]*?) ?\| ([A-Z0-9`].*\.) \|$/gm)].map(([, name, type, labels]) => `${name} ${type} ${labels}`.trim());
}

/** The same of what a process declares. */
function declared(declare: (metrics: Metrics) => unknown): string[] {
  const metrics = new Metrics();
  declare(metrics);
  return metrics.registry.getMetricsAsArray().map((metric) => {
    const { name, type, labelNames } = metric as unknown as { name: string; type: string; labelNames: string[] };
    return `${name.replace('cachepolicy_', '')} ${type} ${labelNames.filter((label) => label !== 'cache' && label !== 'le').join(', ')}`.trim();
  });
}

describe('docs/metrics.md', () => {
  it.each([
    ['Agent', (metrics: Metrics): unknown => new AgentMetrics(metrics)],
    ['Controller', meterWork],
  ] as const)('explains every metric of the %s, with type and labels, and no other', (section, declare) => {
    expect(documented(section).toSorted()).toEqual(declared((metrics) => [declare(metrics), countRequests(metrics), timeLoop(metrics)]).toSorted());
  });

  it('names the base unit where there is one', () => {
    for (const row of [...documented('Agent'), ...documented('Controller')]) {
      const [name = '', type] = row.split(' ');
      expect(name, row).toMatch(type === 'counter' ? /_total$/ : type === 'histogram' ? /_seconds$/ : /^(?!.*(_total|_ms|_millis|_percent))/);
    }
  });

  it('names every trigger', () => {
    for (const trigger of triggers) expect(page).toContain(`\`${trigger}\``);
  });
});
