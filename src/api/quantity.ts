/** Kubernetes quantities, as far as they can be a number of bytes. Parsed exactly: no floating point on the way. */

const suffixes: Readonly<Record<string, bigint>> = {
  '': 1n,
  k: 10n ** 3n, M: 10n ** 6n, G: 10n ** 9n, T: 10n ** 12n, P: 10n ** 15n, E: 10n ** 18n,
  Ki: 2n ** 10n, Mi: 2n ** 20n, Gi: 2n ** 30n, Ti: 2n ** 40n, Pi: 2n ** 50n, Ei: 2n ** 60n,
};
/** Below one: `m` of a byte is still a byte, since every fraction is rounded up. */
const fractions: Readonly<Record<string, bigint>> = { n: 10n ** 9n, u: 10n ** 6n, m: 10n ** 3n };

/**
 * Reads a quantity: a decimal number with Ki…Ei, n…E or an exponent (`10Gi`, `1.5G`, `1e9`, 4096), rounded up to whole bytes as Kubernetes does.
 * @returns bytes, or undefined where it is no quantity, negative, or beyond 2^53 − 1.
 */
export function parseQuantity(value: string | number): number | undefined {
  // The longest sensible text is far shorter; the bound keeps 10 ** exponent and the digits small.
  const text = String(value);
  const parts = text.length > 64 ? null : /^\+?(\d+\.?\d*|\.\d+)(?:([eE][+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)$/.exec(text);
  if (parts === null) return undefined;
  const [, number = '', exponent, suffix = ''] = parts;
  const [whole = '', fraction = ''] = number.split('.');
  let numerator = BigInt(whole + fraction) * (suffixes[suffix] ?? 1n);
  let denominator = 10n ** BigInt(fraction.length) * (fractions[suffix] ?? 1n);
  const power = exponent === undefined ? 0 : Number(exponent.slice(1));
  if (power >= 0) numerator *= 10n ** BigInt(power);
  else denominator *= 10n ** BigInt(-power);
  const bytes = (numerator + denominator - 1n) / denominator;
  return bytes <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(bytes) : undefined;
}

const binaryUnits = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'] as const;

/** For people: one decimal, none where it is zero (`92.3Gi`, `400Gi`, `0`, `812`). */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.95 would be written 1024.0 of the smaller unit.
  while (value >= (unit === 0 ? 1024 : 1023.95) && unit < binaryUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1).replace(/\.0$/, '')}${binaryUnits[unit]}`;
}
