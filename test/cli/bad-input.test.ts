import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Machine } from './machine.ts';

// One machine for all: nothing may be touched, so nothing has to be made anew.
const machine = new Machine();
const home = machine.home();
symlinkSync(home, join(machine.allowedRoot, 'link'));
symlinkSync(machine.allowedRoot, join(machine.allowedRoot, 'up'));
mkdirSync(join(machine.allowedRoot, 'other/cache'), { recursive: true });
symlinkSync(join(home, 'cache/rootfs'), join(machine.allowedRoot, 'other/cache/rootfs'));
machine.write('allowed/file', '');
const before = machine.listing();

afterAll(() => machine[Symbol.dispose]());

/** Exit 2, the one line, nothing on standard output, and nothing on disk was touched. */
async function expectRefusal(line: string | RegExp, ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await machine.run(...args);
  expect(stderr).toMatch(line instanceof RegExp ? line : new RegExp(`${line.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}\n$`));
  expect(stderr.trimEnd().split('\n'), stderr).toHaveLength(1);
  expect(stderr).not.toMatch(/\n\s+at /);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(machine.listing()).toEqual(before);
}

describe.each(['prune', 'plan', 'explain', 'stats'])('%s refuses, with one line and nothing touched,', (command) => {
  it('a missing file', () => expectRefusal(/nowhere\.yaml: no such file \(name a file/, command, '-f', '/nowhere.yaml'));

  it('a directory as file', () => expectRefusal(/: is a directory/, command, '-f', machine.dir));

  it('an empty file', () => expectRefusal(/policy\.yaml: holds no CachePolicy; it is empty\n$/, command, '-f', machine.write('policy.yaml', '')));

  it('a file of empty documents', () => expectRefusal(/holds no CachePolicy/, command, '-f', machine.write('policy.yaml', '---\n# nothing\n---\n')));

  it('bad YAML', () => expectRefusal(/policy\.yaml:2: this is not YAML: /, command, '-f', machine.write('policy.yaml', 'a: 1\n\tb: 2\n')));

  it('a file that is no text', () =>
    expectRefusal(/is not UTF-8 text/, command, '-f', machine.write('policy.yaml', Buffer.from([0xff, 0xfe, 0]))));

  it('another kind', () =>
    expectRefusal(
      /policy\.yaml:2: kind: Unsupported value "ConfigMap"; only CachePolicy is read here\n$/,
      command, '-f', machine.write('policy.yaml', 'apiVersion: v1\nkind: ConfigMap\n'),
    ));

  it('an unknown field', () =>
    expectRefusal(
      /policy\.yaml:9: spec\.caches\[0\]\.limits\.maxEntires: unknown field; allowed here: maxEntries, maxBytes, maxIdle, minFree, minFreeInodes, headroom\n$/,
      command, '-f', machine.policy({ limits: '{maxEntries: 4, maxEntires: 4}' }),
    ));

  it.each([
    ['{maxBytes: 10Gx}', 'maxBytes: "10Gx": maxBytes must be a quantity from 0 to less than 8Pi, a number with Ki, Mi, Gi or Ti, such as 10Gi'],
    ['{maxBytes: -1}', 'maxBytes: -1: maxBytes must be a quantity from 0 to less than 8Pi, a number with Ki, Mi, Gi or Ti, such as 10Gi'],
    ['{maxEntries: -1}', 'maxEntries: -1 should be greater than or equal to 0'],
    ['{maxEntries: 1.5}', 'maxEntries: 1.5 must be of type integer'],
    ['{maxIdle: soon}', 'maxIdle: "soon": maxIdle must be a duration in d, h, m and s, such as 168h'],
  ])('limits of %s', (limits, told) => expectRefusal(`policy.yaml:9: spec.caches[0].limits.${told}`, command, '-f', machine.policy({ limits })));

  it('no limit', () =>
    expectRefusal(
      'policy.yaml:9: spec.caches[0].limits: limits must set at least one of maxEntries, maxBytes, maxIdle, minFree and minFreeInodes',
      command, '-f', machine.policy({ limits: '{}' }),
    ));

  it('a path outside the allowed roots', () =>
    expectRefusal(
      `policy.yaml:8: spec.caches[0].a3sBox.home: /etc/a3s is not strictly below an allowed root; allowed are ${machine.allowedRoot}`,
      command, '-f', machine.policy({ home: '/etc/a3s' }),
    ));

  it('a path that only begins like an allowed root', () =>
    expectRefusal(/is not strictly below an allowed root/, command, '-f', machine.policy({ home: `${machine.allowedRoot}-x/home` })));

  it('the allowed root itself', () =>
    expectRefusal(/is not strictly below an allowed root/, command, '-f', machine.policy({ home: machine.allowedRoot })));

  it.each(['/', '/var/cache/..', 'relative', '', '/var//cache', '/var/cache/'])('the path "%s"', (path) =>
    expectRefusal(
      /policy\.yaml:8: spec\.caches\[0\]\.a3sBox\.home: ".*": home must be an absolute path of letters, digits and _ \. @ : \+ - without/,
      command, '-f', machine.policy({ home: path }),
    ));

  it('.. out of an allowed root', () =>
    expectRefusal(/home must be an absolute path/, command, '-f', machine.policy({ home: `${machine.allowedRoot}/../allowed/home` })));

  it('a symbolic link as home', () =>
    expectRefusal(
      /policy\.yaml:8: spec\.caches\[0\]\.a3sBox\.home: .*allowed\/link is a symbolic link; replace the symbolic link/,
      command, '-f', machine.policy({ home: join(machine.allowedRoot, 'link') }),
    ));

  it('a symbolic link above the home', () =>
    expectRefusal(/allowed\/up is a symbolic link/, command, '-f', machine.policy({ home: join(machine.allowedRoot, 'up/home') })));

  it('a symbolic link as the store', () =>
    expectRefusal(/other\/cache\/rootfs is a symbolic link/, command, '-f', machine.policy({ home: join(machine.allowedRoot, 'other') })));

  it('a path that does not exist', () =>
    expectRefusal(
      /policy\.yaml:8: spec\.caches\[0\]\.a3sBox\.home: .*allowed\/nowhere does not exist; name the home of an A3S Box runtime/,
      command, '-f', machine.policy({ home: join(machine.allowedRoot, 'nowhere') }),
    ));

  it('a file as home', () =>
    expectRefusal(/allowed\/file is not a directory/, command, '-f', machine.policy({ home: join(machine.allowedRoot, 'file') })));

  it('a schedule that is none', () =>
    expectRefusal(
      /policy\.yaml:6: spec\.schedule\.cron: "60 \* \* \* \*" is not a schedule: /,
      command, '-f', machine.policy({ spec: '  schedule: {cron: "60 * * * *"}\n' }),
    ));

  it('a good policy beside a bad one, before the good one is touched', () => {
    const good = machine.policy();
    const bad = machine.policy({ file: 'bad.yaml', name: 'bad', home: '/etc' });
    return expectRefusal(/bad\.yaml:8: /, command, '-f', good, '-f', bad);
  });

  it('two policies for one directory', () =>
    expectRefusal(
      /second\.yaml:8: spec\.caches\[0\]\.a3sBox\.home: policy a3s-box governs .*\/cache\/rootfs too/,
      command, '-f', machine.policy(), '-f', machine.policy({ file: 'second.yaml', name: 'second' }),
    ));

  it('the same policy twice', () =>
    expectRefusal(/policy\.yaml:4: metadata\.name: "a3s-box" stands twice/, command, '-f', machine.policy(), '-f', machine.policy()));

  it('a wrong option, file or none', async () => {
    const file = machine.policy();
    for (const rest of [[], ['-f'], ['-f', file, '--bogus'], ['-f', file, 'extra'], ['-f', file, '-o', 'xml']]) {
      const args = [command, ...rest];
      const { code, stdout, stderr } = await machine.run(...args);
      expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: '' });
      expect(stderr).not.toMatch(/\n\s+at /);
    }
    expect(machine.listing()).toEqual(before);
  });

  it.each(['/', 'relative', '/var/..', '/a//b'])('%s as an allowed root', async (root) => {
    const { code, stderr } = await machine.run(command, '-f', machine.policy(), '--allowed-root', root);
    expect(stderr).toContain('It must be an absolute path other than /');
    expect(code).toBe(2);
  });
});

describe('all mistakes of all documents are told at once', () => {
  it('each with its file and line', async () => {
    const file = machine.write('policy.yaml', `kind: Secret
---
apiVersion: cache.a3s.dev/v1alpha1
kind: CachePolicy
metadata: {name: a}
spec:
  mode: off
  caches:
  - name: rootfs
    a3sBox: {home: ${home}, store: Rootfs}
    limits: {maxBytes: 1Q}
`);
    const { code, stderr } = await machine.run('prune', '-f', file);
    expect(code).toBe(2);
    expect(stderr.trimEnd().split('\n').map((line) => line.replace(/^.*policy\.yaml/, '').replace(/: [^:]*$/, ''))).toEqual([
      ':1: kind', ':7: spec.mode', ':11: spec.caches[0].limits.maxBytes: "1Q"',
    ]);
  });
});
