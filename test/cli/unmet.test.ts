import { closeSync, mkdirSync, openSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Dir } from '../../src/disk/dir.ts';
import { diskError, errno } from '../../src/disk/disk-error.ts';
import { Machine } from './machine.ts';

/** Four models of 64Ki, `a` used longest ago, and a policy with these limits. */
function machineWith(limits: string): { machine: Machine; path: string; file: string } {
  const machine = Machine.forTest();
  const path = join(machine.allowedRoot, 'data/models');
  mkdirSync(path, { recursive: true });
  for (const [i, name] of ['a', 'b', 'c', 'd'].entries()) {
    writeFileSync(join(path, name), Buffer.alloc(65_536, 1));
    const at = Date.now() / 1000 - (5 - i) * 3600;
    utimesSync(join(path, name), at, at);
  }
  const file = machine.directoryPolicy({ path, limits });
  return { machine, path, file };
}

function open(path: string): void {
  const fd = openSync(path, 'r');
  onTestFinished(() => closeSync(fd));
}

const prune = ['prune', '--settle', '0s'];

async function outcome(machine: Machine, file: string, ...command: string[]) {
  const { code, stdout } = await machine.run(...command, '-f', file, '-o', 'json');
  const [cache] = (JSON.parse(stdout) as { caches: { unmet: object[]; evicted: { key: string }[] }[] }).caches;
  return { code, unmet: cache!.unmet };
}

test.each([['plan'], ['prune', '--dry-run'], prune])('%s %s exits with 3 and says so where a limit cannot be met, and with 0 where it can', async (...command: string[]) => {
  const { machine, path, file } = machineWith('{maxEntries: 1}');
  open(join(path, 'a'));
  open(join(path, 'b'));
  expect(await outcome(machine, file, ...command)).toEqual({ code: 3, unmet: [{ limit: 'MaxEntries', allowed: 1, remaining: 2, because: 'Protected' }] });
  const text = await machine.run(...command, '-f', file);
  expect(text).toMatchObject({ code: 3, stderr: expect.not.stringContaining('failed'), stdout: expect.stringContaining('  MaxEntries cannot be met: 2 of 1 stay, protected\n') });
  const met = machineWith('{maxEntries: 1}');
  expect(await outcome(met.machine, met.file, ...command)).toEqual({ code: 0, unmet: [] });
});

test('one cache whose limit cannot be met is enough', async () => {
  const { machine, path, file } = machineWith('{maxEntries: 0}');
  open(join(path, 'a'));
  const home = machine.home();
  expect((await machine.run('plan', '-f', machine.policy({ home }), '-f', file)).code).toBe(3);
  expect((await machine.run('stats', '-f', file)).code).toBe(0);
  expect((await machine.run('explain', '-f', file)).code).toBe(0);
});

test('what failed is a failure and not a limit that cannot be met; the limit is named all the same', async () => {
  const { machine, file } = machineWith('{maxEntries: 2}');
  const exchange = Dir.prototype.exchange;
  const refused = vi.spyOn(Dir.prototype, 'exchange').mockImplementation(function (this: Dir, name, ...rest) {
    if (name === 'a') throw diskError(`exchange ${this.pathOf(name)}`, -errno.EPERM);
    return exchange.call(this, name, ...rest);
  });
  onTestFinished(() => refused.mockRestore());
  expect(await outcome(machine, file, ...prune)).toEqual({ code: 1, unmet: [{ limit: 'MaxEntries', allowed: 2, remaining: 3, because: 'Failed' }] });
  expect((await machine.run(...prune, '-f', file)).stdout).toContain('  MaxEntries is not met: 3 of 2 stay: what failed could not be evicted, and nothing more recently used is evicted in its place\n');
});
