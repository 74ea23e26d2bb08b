/**
 * Every error that a person may meet, in one table: who can mend it, whether trying again may help, and what to do.
 * docs/errors.md says the same in prose; a test holds the two together.
 */

/** Who can mend it: the author of the policy, the owner of the machine or cluster, or us. */
export type Audience = 'user' | 'system' | 'bug';

interface ErrorKind {
  readonly audience: Audience;
  /** True where the same call may succeed later with nothing changed by a person. */
  readonly retry: boolean;
  /** What to do next, in words that stand behind any message of this code. */
  readonly hint: string;
}

export const errorKinds = {
  ERR_INPUT_INVALID: { audience: 'user', retry: false, hint: 'correct the named field and run again' },
  ERR_INPUT_UNREADABLE: { audience: 'user', retry: false, hint: 'name a file that exists and can be read, or - for standard input' },
  ERR_PATH_NOT_ALLOWED: { audience: 'user', retry: false, hint: 'choose a path strictly below an allowed root, or allow the root (--allowed-root, deploy/allowed-roots.yaml)' },
  ERR_ROOT_MISSING: { audience: 'system', retry: true, hint: 'the cache is taken up by itself when the directory appears' },
  ERR_ROOT_SYMLINK: { audience: 'system', retry: true, hint: 'replace the symbolic link by the directory itself, or name the directory it points to' },
  ERR_ROOT_NOT_DIRECTORY: { audience: 'system', retry: true, hint: 'name a directory' },
  ERR_ROOT_REPLACED: { audience: 'system', retry: true, hint: 'nothing was evicted in this pass; the next one takes the new directory up' },
  ERR_ROOT_MOUNT_CHANGED: { audience: 'system', retry: true, hint: 'nothing is evicted until the mounts are as they were; restart the agent where what is there now is meant' },
  ERR_ROOT_UNREADABLE: { audience: 'system', retry: true, hint: 'look at the permissions and the health of the filesystem' },
  ERR_ROOT_NEAR_HOME: { audience: 'user', retry: false, hint: "give the cache a directory away from the runtime's, or govern its stores with a3sBox" },
  ERR_ROOT_KNOWN_LAYOUT: { audience: 'user', retry: true, hint: 'nothing is evicted there; name the directory that the message proposes, or leave the cache out' },
  ERR_ROOT_CROWDED: { audience: 'user', retry: true, hint: 'evict on the node with cachepolicy prune, or spread it over several directories, each with a policy and so an agent of its own' },
  ERR_ROOT_UNSAFE: { audience: 'system', retry: true, hint: 'remove or rename what the message names, or let the user that it belongs to do so; nothing is evicted before that' },
  ERR_ROOT_UNSUPPORTED: { audience: 'user', retry: false, hint: 'keep the cache on a local filesystem such as ext4 or xfs' },
  ERR_LOCK_BUSY: { audience: 'system', retry: true, hint: 'another agent or prune works in this cache; wait for it to end' },
  ERR_HOLDS_UNREADABLE: { audience: 'system', retry: true, hint: 'nothing is evicted while it is unknown what is in use; mend what the message names' },
  ERR_ENTRY_PINNED: { audience: 'user', retry: false, hint: 'remove the pin from protect.keep of the policy, or pass --force' },
  ERR_ENTRY_IN_USE: { audience: 'user', retry: true, hint: 'stop what uses the entry, or pass --force' },
  ERR_ENTRY_NAME: { audience: 'user', retry: false, hint: 'a key is one path component' },
  ERR_ENTRY_MISSING: { audience: 'user', retry: false, hint: 'list the keys with: cachepolicy entry list' },
  ERR_ENTRY_DAMAGED: { audience: 'system', retry: false, hint: 'look at the named file; nothing damaged is ever evicted' },
  ERR_DISK_IO: { audience: 'system', retry: true, hint: 'look at the health of the filesystem' },
  ERR_DISK_FULL: { audience: 'system', retry: true, hint: 'free some space on the filesystem' },
  ERR_NO_ROOM_TO_BEGIN: { audience: 'system', retry: true, hint: 'delete the named file by hand, or free some space elsewhere on the filesystem' },
  ERR_JOURNAL_UNREADABLE: { audience: 'system', retry: false, hint: 'it only tells of the past: remove it, and the next eviction begins a new one' },
  ERR_KUBE_STATUS: { audience: 'system', retry: true, hint: 'look at the API server and at the RBAC of the service account' },
  ERR_KUBE_UNREACHABLE: { audience: 'system', retry: true, hint: 'look at the network and the API server' },
  ERR_KUBE_CONFIG: { audience: 'user', retry: false, hint: 'name a kubeconfig with --kubeconfig or KUBECONFIG' },
  ERR_LEASE_LOST: { audience: 'system', retry: true, hint: 'another controller leads now; this one starts again as a standby' },
  ERR_POLICY_FORMAT: { audience: 'system', retry: true, hint: 'upgrade the agents; the last good policy stays in force' },
  ERR_BUG: { audience: 'bug', retry: false, hint: 'please report it with this line' },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

export class OperatorError extends Error {
  readonly code: ErrorCode;

  /** @param message one sentence that names the place and what is wrong; the hint of the code follows it where it is shown. */
  constructor(code: ErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = 'OperatorError';
    this.code = code;
  }

  get audience(): Audience {
    return errorKinds[this.code].audience;
  }

  get retry(): boolean {
    return errorKinds[this.code].retry;
  }

  get hint(): string {
    return errorKinds[this.code].hint;
  }
}

/** The errno name (`ENOENT`) of a system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) && !code.startsWith('ERR') ? code : undefined;
}

/** One line for a log or a status, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
