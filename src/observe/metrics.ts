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

  counter<L extends string = never>({ name, help, labels = [] }: Declaration<L>): Counter<L> {
    return new Counter({ name: prefix + name, help, labelNames: labels, registers: [this.registry] });
  }

  /** @param collect called before each scrape, to set what is only known then */
  gauge<L extends string = never>({ name, help, labels = [] }: Declaration<L>, collect?: (gauge: Gauge<L>) => void): Gauge<L> {
    const options = { name: prefix + name, help, labelNames: labels, registers: [this.registry] };
    if (collect === undefined) return new Gauge(options);
    return new Gauge({
      ...options,
      collect() {
        collect(this);
      },
    });
  }

  histogram<L extends string = never>({ name, help, labels = [] }: Declaration<L>, buckets: number[]): Histogram<L> {
    return new Histogram({ name: prefix + name, help, labelNames: labels, buckets, registers: [this.registry] });
  }

  /** CPU, memory, file descriptors and event loop of the process, under their common names. Costs 2 MiB: for the controller, not for agents. */
  addProcessMetrics(): void {
    collectDefaultMetrics({ register: this.registry });
  }

  /** What a scrape is answered with. */
  async render(): Promise<{ contentType: string; text: string }> {
    return { contentType: this.registry.contentType, text: await this.registry.metrics() };
  }
}
