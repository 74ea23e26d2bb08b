import { OperatorError } from '../errors.ts';
import type { Status } from './objects.ts';

/** However long a server, or what stands before it, asks to be left alone: then somebody looks again. Timers cannot wait for more than 24 days anyhow. */
const longestRestMs = 5 * 60_000;

/** The API server answered, and the answer was no. */
export class KubeStatusError extends OperatorError {
  /** The HTTP status: 404, 409, 410, 422, 429, 503 … */
  readonly status: number;
  /** The one word of the Status object, such as `AlreadyExists`; empty where the answer was none. */
  readonly reason: string;
  /** The answer without the request: `403 Forbidden: …`. */
  readonly words: string;
  /** How long the server asks to be left alone. */
  readonly retryAfterMs: number | undefined;

  constructor(request: string, status: number, body: Partial<Status>, retryAfterMs?: number) {
    const reason = body.reason ?? '';
    const words = `${status}${reason && ` ${reason}`}${body.message === undefined ? '' : `: ${body.message}`}`;
    super('ERR_KUBE_STATUS', `${words} (${request})`);
    this.words = words;
    this.status = status;
    this.reason = reason;
    const seconds = body.details?.retryAfterSeconds;
    const restMs = retryAfterMs ?? (seconds === undefined || seconds <= 0 ? undefined : seconds * 1000);
    this.retryAfterMs = restMs === undefined ? undefined : Math.min(restMs, longestRestMs);
  }
}

function hasStatus(error: unknown, status: number): error is KubeStatusError {
  return error instanceof KubeStatusError && error.status === status;
}

export function isNotFound(error: unknown): error is KubeStatusError {
  return hasStatus(error, 404);
}

/** Another writer was first: the resource version of the write is not the present one. */
export function isConflict(error: unknown): error is KubeStatusError {
  return hasStatus(error, 409) && error.reason !== 'AlreadyExists';
}

export function isAlreadyExists(error: unknown): error is KubeStatusError {
  return hasStatus(error, 409) && error.reason === 'AlreadyExists';
}

/** More asked at once than the server lets wait. */
export function isRefusedAsTooMany(error: unknown): error is KubeStatusError {
  return hasStatus(error, 429);
}

/** The resource version or continue token is older than what the server keeps: list again. */
export function isExpired(error: unknown): error is KubeStatusError {
  return hasStatus(error, 410);
}
