import { messageOf, OperatorError } from '../errors.ts';
import type { KubeObject, Status, WatchEvent } from './objects.ts';
import { KubeStatusError } from './status-error.ts';
import type { OpenStream } from './transport.ts';

/** An object is at most 3 MiB as a request; escaping may double it. More in one line is no event. */
const longestLine = 16 * 1024 * 1024;

/**
 * The events of an open watch, until the server ends it. Leaving the loop cuts the connection.
 * @throws KubeStatusError the server sent an ERROR event, such as 410; ERR_KUBE_UNREACHABLE the connection broke
 */
export async function* watchEvents<T extends KubeObject>(request: string, stream: OpenStream): AsyncGenerator<WatchEvent<T>> {
  using _cut = stream;
  try {
    for await (const line of lines(stream)) yield decode<T>(request, line);
  } catch (error) {
    if (stream.signal.aborted) throw stream.signal.reason;
    if (error instanceof OperatorError) throw error;
    throw new OperatorError('ERR_KUBE_UNREACHABLE', `the watch broke off: ${messageOf(error)} (${request})`, { cause: error });
  }
}

async function* lines({ body }: OpenStream): AsyncGenerator<string> {
  body.setEncoding('utf8');
  let rest = '';
  for await (const chunk of body as AsyncIterable<string>) {
    const parts = chunk.split('\n');
    rest += parts.shift() ?? '';
    for (const part of parts) {
      if (rest !== '') yield rest;
      rest = part;
    }
    if (rest.length > longestLine) throw new Error(`a line is longer than ${longestLine} characters`);
  }
  if (rest !== '') yield rest;
}

function decode<T extends KubeObject>(request: string, line: string): WatchEvent<T> {
  const event = JSON.parse(line) as WatchEvent<T> | { type: 'ERROR'; object: Status };
  if (event.type !== 'ERROR') return event;
  throw new KubeStatusError(request, event.object.code ?? 500, event.object);
}
