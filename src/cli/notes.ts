import { acceptanceNotes } from '../policy/acceptance.ts';
import type { Io } from './io.ts';
import type { LoadedPolicy } from './policy-files.ts';

/** Says what of the policies does not act here as its author may expect. */
export function tellNotes(policies: readonly LoadedPolicy[], { scheduleIgnored }: { scheduleIgnored: boolean }, io: Io): void {
  for (const { policy, compiled } of policies) {
    const { schedule, nodeSelector } = policy.spec;
    const notes = [
      ...(compiled.mode === 'Enforce' ? [] : [`mode is ${compiled.mode}: nothing is evicted`]),
      ...(schedule !== undefined && scheduleIgnored ? ['schedule is ignored: the limits are applied now'] : []),
      ...(nodeSelector !== undefined ? ['nodeSelector is ignored: this machine is meant'] : []),
      ...acceptanceNotes(policy, Date.now()),
    ];
    for (const note of notes) io.err(`note: ${compiled.policy.name}: ${note}\n`);
  }
}
