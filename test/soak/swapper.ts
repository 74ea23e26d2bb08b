/** A process that swaps pairs of names, as fast as it goes, until it is killed or left alone. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AT_FDCWD, renameExchange } from '../../src/disk/libc.ts';

async function main(pairs: readonly (readonly [string, string])[]): Promise<void> {
  process.on('disconnect', () => process.exit(0));
  process.send?.('at work');
  for (;;) {
    for (let turn = 0; turn < 1_000; turn += 1) for (const [one, other] of pairs) renameExchange(AT_FDCWD, one, AT_FDCWD, other);
    await nextTurn();
  }
}

if (process.send !== undefined) await main(JSON.parse(process.argv[2] ?? '') as [string, string][]);
