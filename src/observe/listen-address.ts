import { OperatorError } from '../errors.ts';

/**
 * Reads `address:port`, where the address may be left out (every address) or be IPv6 with or without brackets, as $(POD_IP):8080 gives it.
 * @throws ERR_INPUT_INVALID
 */
export function parseListenAddress(text: string): { readonly host?: string; readonly port: number } {
  const colon = text.lastIndexOf(':');
  const port = Number(text.slice(colon + 1));
  if (colon < 0 || !/^\d{1,5}$/.test(text.slice(colon + 1)) || port > 65_535) {
    throw new OperatorError('ERR_INPUT_INVALID', `--listen: "${text}" is no address; write address:port, such as 127.0.0.1:8080 or :8080`);
  }
  const host = text.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  return host === '' ? { port } : { host, port };
}
