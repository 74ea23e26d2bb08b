import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PolicyObject } from '../../src/controller/admission.ts';
import type { KubeObject } from '../../src/kube/objects.ts';
import { cachePolicies, leases, nodeCaches } from '../../src/kube/resource.ts';
import { leaseName } from '../../src/api/names.ts';
import { aPolicy, eventually, installOperator, kubectl, namespace } from './cluster.ts';
import { api, collectGarbage, compiledPolicy, freeLease, hurried, remove, report, SimulatedNode, startController, stateOf, Succession } from './controller-rig.ts';
import type { Fate, Faults } from './fault-proxy.ts';

const soak = process.env['SOAK'] === '1';
const [older, newer] = ['faults-a', 'faults-b'];
const labels = { 'faults.example/node': 'yes' };
const node = new SimulatedNode('faults-node');
/** More than the 5 s between two statuses, in the controller's hurried time. */
const restMs = 300;
/** What a watch missed is found by the next list: in life within minutes, here after this. */
const relistAfterMs = 200;

interface Run {
  /** After each step of the story, when everything has settled. */
  readonly states: readonly unknown[];
  /** What reached the API server, with its answer. */
  readonly writes: readonly string[];
  readonly events: readonly string[];
  readonly deaths: number;
}

let reference: Run;

beforeAll(async () => {
  await installOperator();
  await node.start(labels);
  await freeLease();
  reference = await run();
});

afterEach(removeAll);

afterAll(async () => {
  await removeAll();
  await node.stop();
});

async function removeAll(): Promise<void> {
  for (const name of [older, newer]) {
    await remove(cachePolicies, name);
    await isGone(name);
  }
}

async function isGone(name: string): Promise<void> {
  await collectGarbage(name);
  await eventually(async () => {
    await node.removeAgents(name);
    expect(await stateOf(name)).toEqual({ [name]: { reports: [] } });
  }, 60_000);
}

async function apply(name: string, spec: object): Promise<void> {
  await kubectl(['apply', '-f', '-'], JSON.stringify(aPolicy({ name, home: '/var/cache/faults-home', nodeSelector: labels, ...spec } as never)));
}

/** @param condition such as `Ready Ready`, of the policy's present generation */
async function until(name: string, condition: string): Promise<void> {
  await eventually(async () => {
    const { metadata, status } = await api().get<PolicyObject>(cachePolicies, { name });
    const standing = status?.conditions?.map((each) => `${each.type} ${each.reason} ${each.observedGeneration}`) ?? [];
    expect(standing).toContain(`${condition} ${metadata.generation}`);
  });
}

/** Every kind of write that the controller knows, and all that leads to one. */
const story: readonly (() => Promise<void>)[] = [
  async function aPolicyIsMade() {
    await apply(older, { limits: { maxEntries: 8 } });
    await node.report(older, 0);
    await until(older, 'Ready Ready');
  },
  async function entriesAreEvicted() {
    await node.report(older, 12);
  },
  async function itChanges() {
    await apply(older, { limits: { maxEntries: 4 }, rollout: { maxUnavailable: 2 } });
    await node.report(older, 14);
    await until(older, 'Ready Ready');
  },
  async function anotherOneConflicts() {
    await apply(newer, { limits: { maxEntries: 1 } });
    await until(newer, 'Accepted Conflicted');
  },
  async function theWinnerIsDeleted() {
    await remove(cachePolicies, older);
    await until(newer, 'Accepted Accepted');
    await isGone(older);
    await node.report(newer, 1);
    await until(newer, 'Ready Ready');
  },
  async function aNodeDeparts() {
    await report('faults-gone', (await compiledPolicy(newer)).policy, { podUID: 'gone', evictedEntries: 5 });
    await eventually(async () => expect((await api().list(nodeCaches)).items.map(({ metadata }) => metadata.name)).not.toContain(`${newer}.faults-gone`));
  },
];

/** Tells the story. @param isMissed of a watch event and its number: the controller does not hear of it before it lists again */
async function run(faults: Pick<Faults, 'onWrite'> = {}, isMissed: (event: string, index: number) => boolean = () => false): Promise<Run> {
  const events: string[] = [];
  const onEvent = (event: string) => {
    events.push(event);
    if (!isMissed(event, events.length - 1)) return true;
    setTimeout(() => controllers.current?.proxy.relist(), relistAfterMs);
    return false;
  };
  await using controllers = new Succession({ ...faults, onEvent });
  const states: unknown[] = [];
  for (const [index, step] of story.entries()) {
    await step();
    states.push(await settled(reference?.states[index]));
  }
  return { states, events, writes: controllers.writes, deaths: controllers.deaths };
}

/** The state that is expected and stays; in the first run the one that stays. */
async function settled(expected: unknown): Promise<unknown> {
  return eventually(async () => {
    const state = await stateOf(older, newer);
    if (expected !== undefined) expect(state).toEqual(expected);
    await delay(expected === undefined ? 2 * restMs : restMs);
    expect(await stateOf(older, newer)).toEqual(state);
    return state;
  });
}

/** Meets every write once, so that the next try of it passes. */
function meetingEach(fate: Fate): Faults {
  const met = new Set<string>();
  return {
    onWrite: ({ signature }) => {
      if (met.has(signature)) return 'pass';
      met.add(signature);
      return fate;
    },
  };
}

function meeting(fate: Fate, index: number): Faults {
  let writes = 0;
  return { onWrite: () => (writes++ === index ? fate : 'pass') };
}

/** Made or deleted: what must not happen once more than it should. */
const lasting = ({ writes }: Run) => writes.filter((write) => write.endsWith(' 201') || /^DELETE .* 200$/.test(write)).toSorted();

function expectTheSame(result: Run): void {
  expect(result.states).toEqual(reference.states);
  expect(lasting(result)).toEqual(lasting(reference));
}

describe('a controller', () => {
  it('makes each object once, deletes nothing but the report of a node that is gone, and tells an admin', async () => {
    const made = [older, newer].flatMap((name) => ['configmaps', 'daemonsets'].map((kind) => `PATCH ${kind}/cachepolicy-${name} 201`));
    expect(lasting(reference)).toEqual([`DELETE nodecaches/${newer}.faults-gone 200`, ...made].toSorted());
    const told = await kubectl(['get', 'events', '-n', 'default', '-o', 'jsonpath={range .items[*]}{.involvedObject.name} {.type} {.reason}: {.message} by {.reportingComponent}{"\\n"}{end}']);
    // The latest message, if half a minute has passed since the first.
    for (const line of [
      /^faults-a Normal Programmed: generation [12] is in force on 1 node by cachepolicy-controller$/m,
      /^faults-a Normal Evicted: evicted (12|2) entries, (12|2)Ki, on all nodes; (12|14) entries, (12|14)Ki so far by cachepolicy-controller$/m,
      /^faults-b Warning Conflicted: CachePolicy faults-a is older .* by cachepolicy-controller$/m,
    ]) expect(told).toMatch(line);
  });

  it.each(['die before', 'die after', 'lose the answer'] as const)('makes the same of it when every write meets the fate: %s', async (fate) => {
    const result = await run(meetingEach(fate));
    expectTheSame(result);
    if (fate !== 'lose the answer') expect(result.deaths).toBeGreaterThan(12);
  });

  it('makes the same of it when a watch leaves out what came, changed and went', async () => {
    const missed: string[] = [];
    const kinds = [/^ADDED pods.*faults-a/, /^MODIFIED cachepolicies.*faults-a/, /^DELETED cachepolicies.*faults-a/];
    expectTheSame(await run({}, (event) => kinds.some((kind) => kind.test(event) && !missed.some((other) => kind.test(other))) && missed.push(event) > 0));
    expect(missed).toHaveLength(kinds.length);
  });

  it.runIf(soak)('makes the same of it whichever write it dies at, and whichever event is left out', { timeout: 3_600_000 }, async () => {
    for (let index = 0; index < reference.writes.length; index++) {
      for (const fate of ['die before', 'die after', 'lose the answer'] as const) {
        console.log(`${fate} write ${index} of ${reference.writes.length}`);
        expectTheSame(await run(meeting(fate, index)));
        await removeAll();
      }
    }
    for (let missed = 0; missed < reference.events.length; missed++) {
      console.log(`without event ${missed} of ${reference.events.length}`);
      expectTheSame(await run({}, (_, index) => index === missed));
      await removeAll();
    }
  });

  it('with an older view undoes nothing, and brings nothing back', async () => {
    const elsewhere = { nodeSelector: { 'faults.example/node': 'no' } };
    await apply(older, { limits: { maxEntries: 8 } });
    await apply(newer, elsewhere);
    const first = await startController();
    await node.report(older, 0);
    await until(older, 'Ready Ready');
    await until(newer, 'Ready NoMatchingNode');
    await first.stop();
    const second = await startController();
    await eventually(() => expect(second.proxy.lists.size).toBeGreaterThanOrEqual(5));
    await apply(older, { limits: { maxEntries: 4 } });
    await node.report(older, 3);
    await until(older, 'Ready Ready');
    await second.stop();
    await remove(cachePolicies, newer);
    await isGone(newer);
    const present = await stateOf(older, newer);

    const third = await startController({ olderLists: second.proxy.lists });
    await eventually(() => expect(third.proxy.writes.filter((write) => write.endsWith(' 409')).length).toBeGreaterThan(1));
    await delay(restMs);
    expect(await stateOf(older, newer)).toEqual(present);
    third.proxy.thaw();
    await delay(3_000);
    await third.stop();
    expect(await stateOf(older, newer)).toEqual(present);
    expect(third.proxy.writes.filter((write) => / 20[01]$/.test(write) && !write.includes(older))).toEqual([]);
  });

  it('writes nothing while nothing changes, however often it looks', async () => {
    await apply(older, { limits: { maxEntries: 8 } });
    let looks = 0;
    const clock = hurried(250);
    const controller = await startController({}, { ...clock, setTimer: (ms, call) => ((looks += Number(ms === 30_000)), clock.setTimer(ms, call)) });
    await node.report(older, 1);
    await until(older, 'Ready Ready');
    await settled(undefined);
    const [before, from] = [[...controller.proxy.writes], looks];
    while (looks < from + 10) {
      await node.report(older, 1);
      await delay(50);
    }
    expect(controller.proxy.writes).toEqual(before);
    await controller.stop();
  });

  it('gives way when its lease is taken, without a lost or a fighting write', async () => {
    await apply(older, { limits: { maxEntries: 8 } });
    const first = await startController();
    await node.report(older, 0);
    await until(older, 'Ready Ready');
    const second = await startController();
    // The next leader takes it at once; the first one believes for up to 2 s that it still leads.
    const lease = await api().get<KubeObject & { spec: object }>(leases, { namespace, name: leaseName });
    await api().replace(leases, { ...lease, spec: { ...lease.spec, holderIdentity: '' } } as KubeObject);
    for (const maxEntries of [7, 6, 5]) {
      await apply(older, { limits: { maxEntries } });
      await node.report(older, 8 - maxEntries);
    }
    await until(older, 'Ready Ready');
    expect(await first.ended).toMatchObject({ code: 'ERR_LEASE_LOST' });
    await delay(restMs);
    const [before, writes] = [await stateOf(older), [first.proxy.writes.length, second.proxy.writes.length]];
    await delay(3 * restMs);
    expect([first.proxy.writes.length, second.proxy.writes.length]).toEqual(writes);
    expect(await stateOf(older)).toEqual(before);
    expect(before).toMatchObject({ [older]: { policy: { status: { evictedEntries: 3, reporting: '1/1' } }, daemonSet: { generation: 1 } } });
    await Promise.all([first.stop(), second.stop()]);
  });
});
