/** X.509 certificates for servers on 127.0.0.1, made at run time: no tool has to be installed and no key is kept in the repository. */
import { createPrivateKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';

export interface Certificate {
  /** PEM */
  readonly cert: string;
  readonly key: string;
  readonly name: string;
}

/** A certificate authority that is its own server, too: valid for 127.0.0.1 and localhost. */
export function selfSigned(name: string): Certificate {
  return issue(name);
}

/** A certificate signed by the authority. */
export function issuedBy(authority: Certificate, name: string): Certificate {
  return issue(name, authority);
}

function issue(name: string, authority?: Certificate): Certificate {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const signer = authority === undefined ? pair.privateKey : createPrivateKey(authority.key);
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ecdsaWithSha256,
    commonName(authority?.name ?? name),
    sequence(utcTime('250101000000Z'), utcTime('491231235959Z')),
    commonName(name),
    pair.publicKey.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(basicConstraints(authority === undefined), subjectAltName)),
  );
  const der = sequence(body, ecdsaWithSha256, tagged(0x03, Buffer.from([0]), sign('sha256', body, signer)));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return { cert: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`, key, name };
}

function tagged(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const head = length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}

function sequence(...parts: Buffer[]): Buffer {
  return tagged(0x30, ...parts);
}

function integer(bytes: Buffer): Buffer {
  return tagged(0x02, bytes);
}

function utcTime(text: string): Buffer {
  return tagged(0x17, Buffer.from(text));
}

/** @param hex the encoded object identifier */
function identifier(hex: string): Buffer {
  return tagged(0x06, Buffer.from(hex, 'hex'));
}

function commonName(name: string): Buffer {
  return sequence(tagged(0x31, sequence(identifier('550403'), tagged(0x0c, Buffer.from(name)))));
}

function basicConstraints(isAuthority: boolean): Buffer {
  const value = isAuthority ? sequence(tagged(0x01, Buffer.from([0xff]))) : sequence();
  return sequence(identifier('551d13'), tagged(0x01, Buffer.from([0xff])), tagged(0x04, value));
}

const ecdsaWithSha256 = sequence(identifier('2a8648ce3d040302'));
const subjectAltName = sequence(identifier('551d11'), tagged(0x04, sequence(tagged(0x87, Buffer.from([127, 0, 0, 1])), tagged(0x82, Buffer.from('localhost')))));
