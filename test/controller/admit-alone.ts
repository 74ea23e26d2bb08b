import type { Admission, PolicyObject } from '../../src/controller/admission.ts';
import { admit, assess } from '../../src/controller/admission.ts';

/** What becomes of a policy where there is no other. */
export async function admitAlone(policy: PolicyObject, allowedRoots: readonly string[], nowMs: number): Promise<Admission> {
  return admit(policy, await assess(policy, allowedRoots), undefined, nowMs);
}
