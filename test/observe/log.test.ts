import { describe, expect, it } from 'vitest';

import { OperatorError } from '../../src/errors.ts';
import { createLog } from '../../src/observe/log.ts';
import type { LogOptions } from '../../src/observe/log.ts';

function start(options: LogOptions) {
  const lines: string[] = [];
  return { lines, log: createLog({ ...options, write: (line) => void lines.push(line) }) };
}

describe('the log in a pod', () => {
  it('is one JSON object a line, with the time and the level in words', () => {
    const { log, lines } = start({ format: 'json' });
    log.child({ policy: 'a3s-box' }).info({ entries: 4 }, 'evicted\nwith care');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^[^\n]+\n$/);
    expect(JSON.parse(lines[0] ?? '')).toEqual({ level: 'info', time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/), policy: 'a3s-box', entries: 4, msg: 'evicted\nwith care' });
  });

  it('says of an error its code, hint and cause, and the stack of what nobody expected', () => {
    const { log, lines } = start({ format: 'json' });
    log.error({ err: new OperatorError('ERR_DISK_FULL', '/x: no space', { cause: new Error('ENOSPC') }) }, 'failed');
    log.error({ err: 'a string' }, 'failed');
    const [known, odd] = lines.map((line) => JSON.parse(line).err);
    expect(known).toEqual({ message: '/x: no space', code: 'ERR_DISK_FULL', hint: 'free some space on the filesystem', cause: { message: 'ENOSPC', stack: expect.stringContaining('log.test') } });
    expect(odd).toEqual({ message: 'a string' });
  });

  it('leaves out what is below its level', () => {
    const { log, lines } = start({ format: 'json', level: 'warn' });
    log.debug({}, 'no');
    log.info({}, 'no');
    log.warn({}, 'yes');
    expect(lines).toHaveLength(1);
  });
});

describe('the log on a terminal', () => {
  it('is one line for people, with what to do next', () => {
    const { log, lines } = start({ format: 'lines' });
    log.warn({ cache: 'rootfs', bytes: 12, err: new OperatorError('ERR_LOCK_BUSY', '/x: locked') }, 'the pass was skipped');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d WARN {2}the pass was skipped cache=rootfs bytes=12 error="\/x: locked" \(another agent or prune works in this cache; wait for it to end\)\n$/);
  });
});
