import { constants } from 'node:fs';
import { libc, O_CLOEXEC, outcome } from './libc.ts';

/** The system calls of inotify(7). */
const raw = {
  inotify_init1: libc.func('inotify_init1', 'int', ['int']),
  inotify_add_watch: libc.func('inotify_add_watch', 'int', ['int', 'str', 'uint']),
};

const IN_MODIFY = 0x02;
const IN_MOVED_FROM = 0x40;
const IN_MOVED_TO = 0x80;
const IN_CREATE = 0x100;
const IN_DELETE = 0x200;
const IN_DELETE_SELF = 0x400;
const IN_UNMOUNT = 0x2000;
const IN_IGNORED = 0x8000;
const IN_ONLYDIR = 0x1000000;

/** Events after which there are no more. */
export const endOfWatch = IN_DELETE_SELF | IN_UNMOUNT | IN_IGNORED;

/** @returns a file descriptor that never waits, or a negated errno */
export function inotifyInit(): number {
  return outcome(raw.inotify_init1(constants.O_NONBLOCK | O_CLOEXEC));
}

/** For names that come, go, or whose files are written. @returns a negated errno where there can be no watch */
export function inotifyAddWatch(fd: number, path: string): number {
  return outcome(raw.inotify_add_watch(fd, path, IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR));
}
