/**
 * A changing set of which only the first few in order are asked for. Adding and removing cost the same however large it is; only when one of the
 * first few went, the next question looks through the whole set for them.
 */
export class Foremost<T> {
  readonly #all = new Set<T>();
  readonly #count: number;
  readonly #compare: (a: T, b: T) => number;
  /** In order; undefined: to be found again. */
  #first: T[] | undefined = [];

  /** @param compare a total order: 0 for no two members */
  constructor(count: number, compare: (a: T, b: T) => number) {
    this.#count = count;
    this.#compare = compare;
  }

  get size(): number {
    return this.#all.size;
  }

  add(item: T): void {
    if (this.#all.has(item)) return;
    this.#all.add(item);
    if (this.#first !== undefined) this.#place(item, this.#first);
  }

  delete(item: T): void {
    if (this.#all.delete(item) && this.#first?.includes(item)) this.#first = undefined;
  }

  first(): readonly T[] {
    if (this.#first === undefined) {
      const first: T[] = [];
      for (const item of this.#all) this.#place(item, first);
      this.#first = first;
    }
    return this.#first;
  }

  #place(item: T, first: T[]): void {
    const last = first.at(-1);
    if (first.length === this.#count && last !== undefined && this.#compare(item, last) > 0) return;
    const at = first.findIndex((each) => this.#compare(item, each) < 0);
    first.splice(at < 0 ? first.length : at, 0, item);
    if (first.length > this.#count) first.pop();
  }
}
