import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stderrLog } from '../cluster/log.ts';
import { OutageRig } from '../soak/outage-rig.ts';
import type { OutageResult } from '../soak/outage-rig.ts';

/** As short as they can be; ten minutes of each kind: make soak. */
describe('without the API', () => {
  let rig: OutageRig;

  beforeAll(async () => {
    rig = await OutageRig.start(stderrLog);
  });

  afterAll(() => rig[Symbol.asyncDispose]());

  function expectNoHarm({ unwell, strayRestarts, reportedMs, reports }: OutageResult): void {
    expect(unwell).toEqual([]);
    expect(strayRestarts).toBe(0);
    expect(reportedMs).toBeLessThan(30_000);
    // Of two nodes, each with a burst of three and one more in ten seconds.
    expect(reports).toBeLessThanOrEqual(8);
  }

  it('agents enforce the policy in force, live on, and report soon afterwards and once', { timeout: 300_000 }, async () => {
    expectNoHarm(await rig.outage('both stopped', { lastsMs: 0, restarts: false, watchedAfterMs: 10_000 }));
  });

  it('restarted agents enforce the mounted policy, and none that is older than what was in force', { timeout: 300_000 }, async () => {
    const result = await rig.outage('black hole', { lastsMs: 0, restarts: true, watchedAfterMs: 10_000 });
    expect(result.keptByOutdated).toBe(8);
    expectNoHarm(result);
  });
});
