import { controller } from './controller.ts';
import { everyStep } from './every-step.ts';
import { killed } from './killed.ts';
import { linkSwaps } from './link-swaps.ts';
import { liveModels } from './live-models.ts';
import { liveRuntime, missedProtections } from './live-runtime.ts';
import { mutations } from './mutations.ts';
import { outage } from './outage.ts';
import type { Soak } from './soak.ts';

/** Every soak there is, in the order they run. */
export const soaks: readonly Soak[] = [liveRuntime, missedProtections, liveModels, everyStep, killed, linkSwaps, mutations, outage, controller];
