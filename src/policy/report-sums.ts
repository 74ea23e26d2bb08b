import { Foremost } from './foremost.ts';
import type { CacheFigures, NodeFigures } from './node-figures.ts';

export const fullestKept = 10;
export const namedNodes = 3;

const summed = ['entryCount', 'totalBytes', 'evictedEntries', 'evictedBytes', 'protectedBytes', 'wouldEvictEntries', 'wouldEvictBytes'] as const;

/** The largest number below 2^63: the API server refuses a status with a larger integer. */
const mostInStatus = 2 ** 63 - 1024;

/** A sum as a status can hold it. */
export function saturated(sum: number | bigint): number {
  return Math.min(Number(sum), mostInStatus);
}

/** Nodes of which a condition names the first few. */
export function nodeSet(): Foremost<NodeFigures> {
  return new Foremost<NodeFigures>(namedNodes, byNodeName);
}

export function byNodeName(a: { readonly nodeName: string }, b: { readonly nodeName: string }): number {
  return a.nodeName < b.nodeName ? -1 : a.nodeName > b.nodeName ? 1 : 0;
}

/** Fullest first. */
export function byUsage(a: CacheFigures, b: CacheFigures): number {
  if (a.usage !== b.usage) return (b.usage ?? -1) > (a.usage ?? -1) ? 1 : -1;
  return byNodeName(a, b) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}

/** One cache, on all nodes of a set. */
export class CacheSums {
  /** Nodes that report it, and those of them that could read it. */
  reports = 0;
  known = 0;
  readonly fullest = new Foremost<CacheFigures>(fullestKept, byUsage);
  /** Exact, and beyond 2^53, which a large cluster's bytes reach: what is added for years and taken away again must leave nothing behind. */
  readonly #sums = new Map(summed.map((key) => [key, 0n]));

  add(cache: CacheFigures): void {
    this.#count(cache, 1);
    if (cache.usage !== undefined) this.fullest.add(cache);
  }

  remove(cache: CacheFigures): void {
    this.#count(cache, -1);
    this.fullest.delete(cache);
  }

  sum(key: (typeof summed)[number]): number {
    return saturated(this.#sums.get(key) ?? 0n);
  }

  #count(cache: CacheFigures, sign: 1 | -1): void {
    this.reports += sign;
    if (cache.known) this.known += sign;
    for (const key of summed) if (cache[key] !== 0) this.#sums.set(key, (this.#sums.get(key) ?? 0n) + BigInt(sign * cache[key]));
  }
}

/** A changing set of reports, added up. */
export class ReportSums {
  readonly caches = new Map<string, CacheSums>();
  readonly failing = nodeSet();
  readonly overLimit = nodeSet();
  readonly unreachable = nodeSet();
  readonly unreachableReasons = new Map<string, number>();
  /** By the generation of the policy that they report. */
  readonly generations = new Map<number, Foremost<NodeFigures>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(report: NodeFigures): void {
    this.#size += 1;
    for (const cache of report.caches) entryOf(this.caches, cache.name, () => new CacheSums()).add(cache);
    entryOf(this.generations, report.observedGeneration, nodeSet).add(report);
    for (const set of this.#setsOf(report)) set.add(report);
    this.#countReason(report, 1);
  }

  remove(report: NodeFigures): void {
    this.#size -= 1;
    for (const cache of report.caches) this.#removeCache(cache);
    const generation = this.generations.get(report.observedGeneration);
    generation?.delete(report);
    if (generation?.size === 0) this.generations.delete(report.observedGeneration);
    for (const set of this.#setsOf(report)) set.delete(report);
    this.#countReason(report, -1);
  }

  #removeCache(cache: CacheFigures): void {
    const sums = this.caches.get(cache.name);
    sums?.remove(cache);
    if (sums?.reports === 0) this.caches.delete(cache.name);
  }

  #setsOf({ failing, overLimit, unreachable }: NodeFigures): Foremost<NodeFigures>[] {
    return [
      ...(failing !== undefined ? [this.failing] : []),
      ...(overLimit !== undefined ? [this.overLimit] : []),
      ...(unreachable !== undefined ? [this.unreachable] : []),
    ];
  }

  #countReason({ unreachable }: NodeFigures, sign: 1 | -1): void {
    if (unreachable === undefined) return;
    const count = (this.unreachableReasons.get(unreachable.reason) ?? 0) + sign;
    if (count === 0) this.unreachableReasons.delete(unreachable.reason);
    else this.unreachableReasons.set(unreachable.reason, count);
  }
}

function entryOf<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
