import type { Dir } from '../disk/dir.ts';
import { filesystemOf } from '../disk/pinned-root.ts';
import { Slices } from '../disk/slices.ts';
import type { PlanInput } from '../policy/plan.ts';
import type { EntryName } from '../policy/snapshot.ts';
import type { Format } from './formats/format.ts';
import type { Holders, Probed } from './holds/holders.ts';
import type { Plannable, PlanUnused } from './holds/plan-unused.ts';
import { planUnused } from './holds/plan-unused.ts';
import type { Outlook } from './outlook.ts';
import type { PassError } from './report.ts';
import { tellUses } from './uses.ts';

/** A cache that was scanned and can be planned, alone or together with the others on its filesystem. Until disposed its directory is open. */
export interface Draft extends Plannable, Disposable {
  outlook(planned: PlanUnused): Outlook;
}

/** By its own limits. */
export async function planAlone(draft: Draft, signal?: AbortSignal): Promise<Outlook> {
  const [planned] = await planUnused([draft], new Slices(signal));
  return draft.outlook(planned!);
}

interface Drafted {
  readonly root: Dir;
  readonly format: Format;
  readonly holders: Holders;
  readonly input: PlanInput;
  readonly most: number;
  /** Set where it could not be read what is in use. */
  readonly error: PassError | undefined;
}

export class CacheDraft implements Draft {
  readonly input: PlanInput;
  readonly most: number;
  readonly #from: Drafted;

  constructor(from: Drafted) {
    this.input = from.input;
    this.most = from.most;
    this.#from = from;
  }

  async probe(name: EntryName, slices: Slices): Promise<Probed> {
    return await this.#from.holders.probe({ parent: this.#from.root, name }, slices);
  }

  outlook({ plan, errors }: PlanUnused): Outlook {
    const { root, format, input: { snapshot, holds, nowMs }, error } = this.#from;
    tellUses(format, plan, nowMs);
    return { snapshot, holds, plan, filesystem: filesystemOf(root), errors: error === undefined ? errors : [error, ...errors] };
  }

  [Symbol.dispose](): void {
    this.#from.root[Symbol.dispose]();
  }
}
