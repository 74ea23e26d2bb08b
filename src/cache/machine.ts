import { readFileSync, readlinkSync } from 'node:fs';
import { errnoOf } from '../errors.ts';

/**
 * What this machine is known by, as far as this process can see it. The command line on the node and the agent in its pod must come to the
 * same: so nothing counts that a container has of its own, such as its hostname or the machine-id of its image.
 */
export interface Machine {
  /** Of the running kernel: the same in every container, another after each start of the machine. */
  readonly boot?: string | undefined;
  /** The UUID of the hardware, or of the virtual machine. For root alone, in containers, too. */
  readonly hardware?: string | undefined;
  /** /etc/machine-id of the machine itself; undefined in a container. */
  readonly installation?: string | undefined;
}

/** Of the first namespace of a kernel: include/linux/proc_ns.h, PROC_PID_INIT_INO. */
const firstPidNamespace = 'pid:[4026531836]';

let known: Machine | undefined;

export function thisMachine(): Machine {
  known ??= {
    boot: textOf('/proc/sys/kernel/random/boot_id'),
    hardware: textOf('/sys/class/dmi/id/product_uuid'),
    installation: unlessDenied(() => readlinkSync('/proc/self/ns/pid')) === firstPidNamespace ? textOf('/etc/machine-id') : undefined,
  };
  return known;
}

/**
 * Whether what a machine wrote down is of this one. A running kernel is one machine; beyond that whatever both are known by must agree.
 * Where nothing is, it is believed: a machine that shows neither UUID would forget everything at each start.
 */
export function isSameMachine(one: Machine, other: Machine): boolean {
  if (one.boot !== undefined && one.boot === other.boot) return true;
  const agree = (a: string | undefined, b: string | undefined) => a === undefined || b === undefined || a === b;
  return agree(one.hardware, other.hardware) && agree(one.installation, other.installation);
}

function textOf(path: string): string | undefined {
  const text = unlessDenied(() => readFileSync(path, 'utf8'))?.trim();
  return text === '' || (text?.length ?? 0) > 128 ? undefined : text;
}

function unlessDenied(read: () => string): string | undefined {
  try {
    return read();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}
