import { describe, expect, it } from 'vitest';
import { AdmissionCheck } from '../../src/controller/admission-check.ts';
import type { KubeClient, WriteOptions } from '../../src/kube/client.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import type { Resource } from '../../src/kube/resource.ts';
import { KubeStatusError } from '../../src/kube/status-error.ts';
import { silentLog } from '../../src/observe/log.ts';
import { SteppedClock } from '../kube/stepped-clock.ts';

type Agents = KubeObject & { spec: { template: { spec: { containers: { image: string; securityContext: { privileged?: boolean } }[]; volumes: { hostPath?: { path: string } }[] } } } };

/** Admission as deploy/admission.yaml makes it, in a few words; each part can be missing, or hold something else than the controller goes by. */
class Admission {
  roots: readonly string[] = ['/var/lib/a3s-box', '/var/cache'];
  /** Those of the ConfigMap. */
  controllersRoots = this.roots;
  image = 'operator:1';
  readonly missing = new Set<string>();
  /** What is answered instead, by whatever stands before admission. */
  outage: Error | undefined;
  asked = 0;

  readonly client = {
    create: async (_: Resource, object: KubeObject, options: WriteOptions) => this.#take(object, options),
    apply: async (_: Resource, object: KubeObject, options: WriteOptions) => this.#take(object, options),
  } as unknown as KubeClient;

  #take(object: KubeObject, { dryRun }: WriteOptions): KubeObject {
    expect(dryRun).toBe(true);
    this.asked += 1;
    if (this.outage !== undefined) throw this.outage;
    const allowed = `allowed are ${this.roots.join(', ') || 'none'}`;
    if (object.kind === 'CachePolicy') this.#refuse('allowed-roots', true, `/x is not strictly below an allowed root; ${allowed}`);
    if (object.kind === 'ConfigMap') this.#refuse('own-config', true, 'the controller may write only the ConfigMap of a policy, and never the allowed roots');
    if (object.kind !== 'DaemonSet') return object;
    const { containers, volumes } = (object as Agents).spec.template.spec;
    const paths = volumes.flatMap(({ hostPath }) => hostPath?.path ?? []);
    // Asked before admission.
    if (new Set(paths).size < paths.length) throw new KubeStatusError('PATCH x', 422, { reason: 'Invalid', message: 'spec.template.spec.containers[0].volumeMounts[2].mountPath: Invalid value: must be unique' });
    this.#refuse('agent-paths', paths.some((path) => !this.roots.includes(path)), `an agent may mount only allowed roots and the ConfigMap of its policy; ${allowed}`);
    this.#refuse('agent-image', containers.some(({ image }) => image !== this.image), `an agent must run the image that the annotation cache.a3s.dev/agent-image of its namespace names: ${this.image}`);
    this.#refuse('agent-confined', containers.some(({ securityContext }) => securityContext.privileged === true), 'an agent drops all capabilities but DAC_OVERRIDE, FOWNER and LEASE, and is not privileged');
    return object;
  }

  #refuse(policy: string, matches: boolean, words: string): void {
    if (!matches || this.missing.has(policy)) return;
    const message = `x is forbidden: ValidatingAdmissionPolicy 'cachepolicy-${policy}' with binding 'cachepolicy-${policy}' denied request: ${words}`;
    throw new KubeStatusError('PATCH x', 403, { reason: 'Forbidden', message });
  }
}

async function checked(admission: Admission, run: (step: (ms: number) => Promise<string | undefined>, check: AdmissionCheck) => Promise<void>): Promise<number> {
  const clock = new SteppedClock();
  let changes = 0;
  const check = new AdmissionCheck({
    client: admission.client, namespace: 'cachepolicy-system', image: 'operator:1', allowedRoots: () => admission.controllersRoots, onChange: () => (changes += 1), log: silentLog, clock,
  });
  const stop = new AbortController();
  const running = check.run(stop.signal);
  await clock.pass(0);
  await run(async (ms) => {
    await clock.pass(ms);
    return check.difference;
  }, check);
  stop.abort();
  await running;
  return changes;
}

/** What is reported once it has been confirmed. */
async function differenceOf(admission: Admission): Promise<string | undefined> {
  let difference: string | undefined;
  await checked(admission, async (step) => void (difference = await step(60_000)));
  return difference;
}

describe('the check whether admission agrees with the controller', () => {
  it('reports nothing where it does, and asks again every ten minutes', async () => {
    const admission = new Admission();
    const changes = await checked(admission, async (step) => {
      const once = admission.asked;
      expect(once).toBeGreaterThan(5);
      expect(await step(599_000)).toBeUndefined();
      expect(admission.asked).toBe(once);
      await step(1_000);
      expect(admission.asked).toBe(2 * once);
    });
    expect(changes).toBe(0);
  });

  it('asks about agents also where a root is allowed twice', async () => {
    const admission = new Admission();
    admission.roots = admission.controllersRoots = ['/var/cache', '/var/lib/a3s-box', '/var/cache'];
    expect(await differenceOf(admission)).toBeUndefined();
    admission.missing.add('agent-confined');
    expect(await differenceOf(admission)).toContain('admission takes privileged agents');
  });

  it.each([
    ['fewer roots', { roots: ['/var/cache'] }, 'admission says "/x is not strictly below an allowed root; allowed are /var/cache" where the controller goes by "allowed are /var/lib/a3s-box, /var/cache"'],
    ['more roots', { roots: ['/var/lib/a3s-box', '/var/cache', '/srv'] }, 'allowed are /var/lib/a3s-box, /var/cache, /srv" where'],
    ['no roots', { roots: [] }, 'allowed are none" where'],
    ['another image', { image: 'operator:2' }, 'names: operator:2" where the controller goes by "the annotation cache.a3s.dev/agent-image of its namespace names: operator:1"'],
  ])('names %s and what to do', async (_, change, words) => {
    const difference = await differenceOf(Object.assign(new Admission(), change));
    expect(difference).toContain(words);
    expect(difference).toMatch(/; apply the operator again with its kustomization/);
  });

  it.each([
    ['allowed-roots', 'admission takes a CachePolicy beyond the allowed roots'],
    ['agent-paths', 'admission takes agents that mount the whole node'],
    ['agent-image', 'admission takes agents of another image'],
    ['agent-confined', 'admission takes privileged agents'],
    ['own-config', 'admission takes a ConfigMap of no policy'],
  ])('reports that the policy cachepolicy-%s is missing', async (policy, words) => {
    const admission = new Admission();
    admission.missing.add(policy);
    expect(await differenceOf(admission)).toContain(words);
  });

  it('keeps to itself what is mended within a minute, as in an upgrade', async () => {
    const admission = new Admission();
    admission.roots = ['/old'];
    const changes = await checked(admission, async (step) => {
      admission.roots = ['/var/lib/a3s-box', '/var/cache'];
      expect(await step(60_000)).toBeUndefined();
    });
    expect(changes).toBe(0);
  });

  it('withdraws the report within half a minute after the difference is gone', async () => {
    const admission = new Admission();
    admission.image = 'operator:2';
    const changes = await checked(admission, async (step) => {
      expect(await step(60_000)).toBeDefined();
      admission.image = 'operator:1';
      expect(await step(30_000)).toBeUndefined();
    });
    expect(changes).toBe(2);
  });

  it('keeps the report while the API server answers nothing', async () => {
    const admission = new Admission();
    admission.image = 'operator:2';
    await checked(admission, async (step) => {
      const reported = await step(60_000);
      admission.outage = new Error('unreachable');
      expect(await step(700_000)).toBe(reported);
      admission.outage = undefined;
      admission.image = 'operator:1';
      expect(await step(30_000)).toBeUndefined();
    });
  });

  it('asks again soon after the allowed roots of the controller change', async () => {
    const admission = new Admission();
    await checked(admission, async (step, check) => {
      admission.roots = ['/srv'];
      check.recheck();
      await step(10_000);
      expect(await step(60_000)).toContain('allowed are /srv');
    });
  });

  it.each([
    ['an API server that answers nothing', new Error('unreachable')],
    ['a webhook that knows no dry run', new KubeStatusError('PATCH x', 400, { reason: 'BadRequest', message: 'admission webhook "x" does not support dry run' })],
    ['an admission policy of somebody else', new KubeStatusError('PATCH x', 403, { reason: 'Forbidden', message: "ValidatingAdmissionPolicy 'other' with binding 'other' denied request: no hostPath" })],
  ])('takes %s for no difference', async (_, error) => {
    const admission = new Admission();
    admission.outage = error;
    expect(await differenceOf(admission)).toBeUndefined();
  });
});
