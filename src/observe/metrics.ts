import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

const prefix = 'cachepolicy_';

interface Declaration<L extends string> {
  /** Without the prefix, with the base unit: `run_duration_seconds`, `evicted_entries_total`. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly L[];
}

/** The metrics of one process. Each part of the program declares its own where it uses them; a name twice is refused. */
export class Metrics {
  readonly registry = new Registry();
  readonly #declared: (Counter | Gauge | Histogram)[] = [];
  /** What is being forgotten: a scrape waits for it. */
  #forgetting = Promise.resolve();

  counter<L extends string = never>({ name, help, labels = [] }: Declaration<L>): Counter<L> {
    return this.#declare(new Counter({ name: prefix + name, help, labelNames: labels, registers: [this.registry] }));
  }

  /** @param collect called before each scrape, to set what is only known then */
  gauge<L extends string = never>({ name, help, labels = [] }: Declaration<L>, collect?: (gauge: Gauge<L>) => void): Gauge<L> {
    const options = { name: prefix + name, help, labelNames: labels, registers: [this.registry] };
    if (collect === undefined) return this.#declare(new Gauge(options));
    return this.#declare(new Gauge({
      ...options,
      collect() {
        collect(this);
      },
    }));
  }

  histogram<L extends string = never>({ name, help, labels = [] }: Declaration<L>, buckets: readonly number[]): Histogram<L> {
    return this.#declare(new Histogram({ name: prefix + name, help, labelNames: labels, buckets: [...buckets], registers: [this.registry] }));
  }

  /** Drops whatever carries this value of a label, so that it is not told for ever. What is counted under it later counts from zero. */
  forget(label: string, value: string): void {
    this.#forgetting = this.#forgetting.then(async () => {
      for (const metric of this.#declared) {
        for (const { labels } of (await metric.get()).values) {
          const { le: _, ...own } = labels as Record<string, string>;
          if (own[label] === value) metric.remove(own);
        }
      }
    });
  }

  /** CPU, memory, file descriptors and event loop of the process, under their common names. Costs 2 MiB: for the controller, not for agents. */
  addProcessMetrics(): void {
    collectDefaultMetrics({ register: this.registry });
  }

  /** What a scrape is answered with. */
  async render(): Promise<{ contentType: string; text: string }> {
    await this.#forgetting;
    return { contentType: this.registry.contentType, text: await this.registry.metrics() };
  }

  #declare<M extends Counter<never> | Gauge<never> | Histogram<never>>(metric: M): M {
    this.#declared.push(metric as unknown as Counter);
    return metric;
  }
}

/** Takes how late the event loop turned, for `loopDelayCheck` to call. */
export function timeLoop(metrics: Metrics): (lateMs: number) => void {
  const delays = metrics.histogram(
    { name: 'event_loop_delay_seconds', help: 'How late the event loop turned, looked at twice a second.' },
    [0.001, 0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10],
  );
  return (lateMs) => delays.observe(lateMs / 1000);
}
