/** One bench, by its name, in this process; what it measured goes to the parent. */
import { benches } from './registry.ts';

async function main(): Promise<void> {
  const bench = benches.find(({ name }) => name === process.argv[2]);
  if (bench === undefined) throw new Error(`no bench ${process.argv[2]}`);
  const measured = await bench.measure();
  process.send?.(measured);
  process.disconnect();
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
