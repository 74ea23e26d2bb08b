import type { Inventory } from './inventory.ts';
import type { PolicyObject } from './admission.ts';

interface Figures {
  readonly evictedEntries: number;
  readonly evictedBytes: number;
}

/**
 * When what departed nodes had evicted counts as written: once the watch shows a status that says so. The answer to a write is no evidence:
 * it may be lost although the write arrived, and then the same evictions would be added again.
 */
export class Settlement {
  readonly #inventory: Inventory;
  /** By policy: what its status says of departed nodes, and what of the statuses sent since then was new in each. */
  readonly #books = new Map<string, { readonly shown: string; readonly sent: Map<string, Figures> }>();

  constructor(inventory: Inventory) {
    this.#inventory = inventory;
  }

  /** To be told of the policy before its departed nodes are counted. */
  observe({ metadata: { name, uid = '' }, status }: PolicyObject): void {
    const shown = keyOf(status?.departed);
    const book = this.#books.get(name);
    if (book?.shown === shown) return;
    this.#books.set(name, { shown, sent: new Map() });
    if (book === undefined) return;
    // Other figures than we ever sent are another leader's, who saw the same nodes go.
    this.#inventory.settleDeparted(name, uid, book.sent.get(shown) ?? this.#inventory.departed(name, uid));
  }

  /** @param since what is new in `said` */
  sent(name: string, said: Partial<Figures> | undefined, since: Figures): void {
    this.#books.get(name)?.sent.set(keyOf(said), since);
  }

  forget(name: string): void {
    this.#books.delete(name);
  }
}

function keyOf(figures: Partial<Figures> | undefined): string {
  return `${figures?.evictedEntries ?? 0}/${figures?.evictedBytes ?? 0}`;
}
