import { silent } from '../cluster/log.ts';
import { outageKinds, OutageRig } from './outage-rig.ts';
import type { Soak, SoakFigure } from './soak.ts';
import { atMost, exactly } from './soak.ts';

const lastsMs = 600_000;
const watchedAfterMs = 30_000;
/** Of each of the two nodes: the burst of the reports' budget, and one every ten seconds. */
const mostReports = 2 * 6;

export const outage: Soak = {
  name: 'outage',
  about: 'ten minutes without the API, four times: agents enforce what was in force last, also restarted, and report within 30 s afterwards',
  async run({ scale, progress }) {
    const figures: SoakFigure[] = [];
    await using rig = await OutageRig.start(silent);
    for (const kind of outageKinds) {
      progress(kind);
      const result = await rig.outage(kind, { lastsMs: lastsMs * scale, restarts: true, watchedAfterMs });
      figures.push(
        atMost(`${kind}: a limit enforced without the API, ms`, result.enforcedMs, 15_000),
        exactly(`${kind}: entries left alone by an agent that knows only an older policy`, result.keptByOutdated ?? 0, 8),
        exactly(`${kind}: agents that a liveness probe would have ended`, result.unwell.length, 0),
        exactly(`${kind}: restarts by a failing probe or a crash`, result.strayRestarts, 0),
        atMost(`${kind}: every report arrived after, ms`, result.reportedMs, 30_000),
        atMost(`${kind}: reports of both nodes in the 30 s after`, result.reports, mostReports),
      );
    }
    return figures;
  },
};
