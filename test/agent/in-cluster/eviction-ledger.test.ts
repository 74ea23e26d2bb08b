import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EvictionLedger } from '../../../src/agent/in-cluster/eviction-ledger.ts';
import type { NodeCacheStatus } from '../../../src/api/status.ts';
import { noLimits } from '../../../src/policy/limits.ts';
import type { CacheState, Totals } from '../../../src/policy/node-report.ts';
import { noTotals } from '../../../src/policy/node-report.ts';

const totalsOf = (evicted: number): Totals => ({ ...noTotals, evictedEntries: evicted, evictedBytes: 10 * evicted });

/** A cache that has evicted so many here, some of them before this agent. */
function aCache(name: string, evicted: number, before = 0): CacheState {
  return { name, limits: noLimits, look: undefined, lastRun: undefined, problem: undefined, totals: totalsOf(evicted), countedBefore: totalsOf(before) };
}

function aStatus(evictedEntries: number, caches: Readonly<Record<string, number>>): NodeCacheStatus {
  return { evictedEntries, evictedBytes: 10 * evictedEntries, caches: Object.entries(caches).map(([name, evicted]) => ({ name, totals: totalsOf(evicted) })) } as NodeCacheStatus;
}

const anew = (uid: string) => ({ uid, evicted: undefined, caches: undefined });
const found = (uid: string, { evictedEntries = 0, evictedBytes = 0, caches }: NodeCacheStatus) => ({ uid, evicted: { evictedEntries, evictedBytes }, caches });
/** Every report is delivered. */
const send = (ledger: EvictionLedger) => {
  const { evicted } = ledger;
  ledger.delivered(evicted);
  return evicted;
};

describe('what a node says it evicted', () => {
  it('is what its caches evicted since it has a report', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', anew('nc-1'));
    ledger.count('p', [aCache('rootfs', 2), aCache('layers', 1)]);
    expect(send(ledger)).toEqual({ evictedEntries: 3, evictedBytes: 30 });
  });

  it('starts anew in a report that is made again, with what the last one may not have been told', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', anew('nc-1'));
    ledger.count('p', [aCache('rootfs', 2)]);
    send(ledger);
    ledger.count('p', [aCache('rootfs', 5)]);
    ledger.open('p', anew('nc-2'));
    expect(send(ledger).evictedEntries).toBe(3);
  });

  it('keeps for the next report what was not delivered', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', anew('nc-1'));
    ledger.count('p', [aCache('rootfs', 2)]);
    send(ledger);
    ledger.count('p', [aCache('rootfs', 5)]);
    expect(ledger.evicted.evictedEntries).toBe(5);
    ledger.open('p', anew('nc-2'));
    expect(send(ledger).evictedEntries).toBe(3);
  });

  it('goes on from what another node of the same name had evicted, and from none of its totals', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', { uid: 'nc-1', evicted: { evictedEntries: 9, evictedBytes: 90 }, caches: undefined });
    ledger.count('p', [aCache('rootfs', 4, 3)]);
    expect(send(ledger).evictedEntries).toBe(10);
  });

  it('is never more than the API server takes, whatever somebody wrote into the report', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', found('nc-1', aStatus(Number.MAX_SAFE_INTEGER, { rootfs: 2 })));
    ledger.count('p', [aCache('rootfs', 4, 2)]);
    expect(send(ledger).evictedEntries).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('leaves out what a departed node had told before it came back', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', anew('nc-2'));
    ledger.count('p', [aCache('rootfs', 7, 7)]);
    expect(send(ledger).evictedEntries).toBe(0);
    ledger.count('p', [aCache('rootfs', 8, 7)]);
    expect(send(ledger).evictedEntries).toBe(1);
  });

  it('leaves out what a cache had told before it was taken out of the spec and put back', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', anew('nc-1'));
    ledger.count('p', [aCache('rootfs', 2), aCache('layers', 4)]);
    ledger.count('p', [aCache('rootfs', 2)]);
    expect(send(ledger).evictedEntries).toBe(6);
    ledger.count('p', [aCache('rootfs', 2), aCache('layers', 5, 4)]);
    expect(send(ledger).evictedEntries).toBe(7);
  });

  it('goes on where an earlier agent ended, with what that one could not tell any more', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', found('nc-1', aStatus(9, { rootfs: 2 })));
    ledger.count('p', [aCache('rootfs', 4, 3)]);
    expect(send(ledger).evictedEntries).toBe(11);
  });

  it('is the same where the API server is reached only after the caches were looked at', () => {
    const ledger = new EvictionLedger();
    ledger.count('p', [aCache('rootfs', 4, 3)]);
    ledger.open('p', found('nc-1', aStatus(9, { rootfs: 2 })));
    expect(send(ledger).evictedEntries).toBe(11);
  });

  it('does not count a change of the limits, for which the cache is taken up again', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', anew('nc-1'));
    for (const state of [aCache('rootfs', 4), aCache('rootfs', 4, 4), aCache('rootfs', 6, 4), aCache('rootfs', 6, 6)]) ledger.count('p', [state]);
    expect(send(ledger).evictedEntries).toBe(6);
  });

  it('does not count what the disk says only later of earlier agents', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', anew('nc-1'));
    ledger.count('p', [aCache('rootfs', 0)]);
    ledger.count('p', [aCache('rootfs', 7, 7)]);
    expect(send(ledger).evictedEntries).toBe(0);
  });

  it('is counted anew for another policy of the same name', () => {
    const ledger = new EvictionLedger();
    ledger.open('p', anew('nc-1'));
    ledger.count('p', [aCache('rootfs', 4)]);
    send(ledger);
    ledger.open('q', anew('nc-1'));
    ledger.count('q', [aCache('rootfs', 1)]);
    expect(send(ledger).evictedEntries).toBe(1);
  });
});

const caches = ['rootfs', 'layers'] as const;
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ what: fc.constant('evict' as const), cache: fc.constantFrom(...caches) }) },
  { weight: 4, arbitrary: fc.record({ what: fc.constant('deliver' as const), answer: fc.constantFrom('seen', 'seen', 'lost') }) },
  ...(['depart', 'restart', 'edit', 'delete'] as const).map((what) => ({ weight: 1, arbitrary: fc.record({ what: fc.constant(what) }) })),
  { weight: 2, arbitrary: fc.record({ what: fc.constant('toggle' as const), cache: fc.constantFrom(...caches) }) },
);

/** One node, its disk, its report, and the controller, which adds to `departed` what a report said that it removes. */
class World {
  evicted = 0;
  /** False once an agent ended before it delivered, or somebody deleted a report. */
  lossless = true;
  readonly #disk = new Map<string, number>();
  #ledger = new EvictionLedger();
  #spec = new Set<string>(caches);
  #before = new Map<string, number>();
  #report: { uid: string; status: NodeCacheStatus | undefined } | undefined;
  #made = 0;
  #departed = 0;

  constructor() {
    this.#look();
  }

  get reported(): number {
    return this.#departed + (this.#report?.status?.evictedEntries ?? 0);
  }

  take({ what, cache = '', answer }: { what: string; cache?: string; answer?: string }): void {
    if (what === 'evict' && this.#spec.has(cache)) {
      this.evicted += 1;
      this.#disk.set(cache, (this.#disk.get(cache) ?? 0) + 1);
      this.#look();
    } else if (what === 'toggle') {
      if (this.#spec.delete(cache)) this.#before.delete(cache);
      else this.#spec.add(cache);
      this.#look();
    } else if (what === 'edit') {
      this.#before = new Map(this.#disk);
      this.#look();
    } else if (what === 'restart') this.#restart();
    else if (what === 'depart') {
      if (this.reported < this.evicted) this.lossless = false;
      this.#departed = this.reported;
      this.#report = undefined;
      this.#restart();
    } else if (what === 'delete') {
      this.lossless = false;
      this.#report = undefined;
    } else if (what === 'deliver') this.deliver(answer !== 'lost');
  }

  deliver(answered = true): void {
    this.#reach();
    const { evicted } = this.#ledger;
    const totals = Object.fromEntries([...this.#spec].map((name) => [name, this.#disk.get(name) ?? 0]));
    this.#report = { uid: this.#report?.uid ?? '', status: aStatus(evicted.evictedEntries, totals) };
    if (answered) this.#ledger.delivered(evicted);
  }

  #restart(): void {
    // The next agent finds what this one did not deliver only of caches that it governs and the report speaks of.
    const listed = this.#report?.status?.caches ?? [];
    if (this.reported < this.evicted && (this.#spec.size < caches.length || listed.length < caches.length)) this.lossless = false;
    this.#ledger = new EvictionLedger();
    this.#before = new Map(this.#disk);
    this.#reach();
    this.#look();
  }

  #reach(): void {
    this.#report ??= { uid: `nc-${(this.#made += 1)}`, status: undefined };
    const { uid, status } = this.#report;
    this.#ledger.open('p', status === undefined ? anew(uid) : found(uid, status));
  }

  #look(): void {
    for (const name of this.#spec) if (!this.#before.has(name)) this.#before.set(name, this.#disk.get(name) ?? 0);
    this.#ledger.count('p', [...this.#spec].map((name) => aCache(name, this.#disk.get(name) ?? 0, this.#before.get(name))));
  }
}

describe('what the reports of a node say, with those that the controller removed', () => {
  it('falls only where somebody deletes a report, never counts an eviction twice, and misses only what could not be delivered', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const world = new World();
      let before = 0;
      for (const each of steps) {
        world.take(each);
        if (each.what !== 'delete') expect(world.reported).toBeGreaterThanOrEqual(before);
        expect(world.reported).toBeLessThanOrEqual(world.evicted);
        before = world.reported;
      }
      world.deliver();
      if (world.lossless) expect(world.reported).toBe(world.evicted);
    }), { numRuns: 500 });
  });
});
