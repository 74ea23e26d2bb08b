/**
 * `make soak`: runs the long tests one after another, prints their figures and writes them to soak.json.
 *
 *     node test/soak/run.ts [name…]     SEED=… to repeat a run, SCALE=0.01 to try one out
 */
import fse from 'fs-extra';
import { messageOf } from '../../src/errors.ts';
import { soaks } from './registry.ts';
import type { Soak, SoakFigure } from './soak.ts';

interface Outcome {
  readonly name: string;
  readonly seconds: number;
  readonly figures: readonly SoakFigure[];
  readonly error: string | undefined;
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !soaks.some((soak) => soak.name === name));
if (unknown.length > 0) {
  console.error(`there is no soak ${unknown.join(', ')}; there are ${soaks.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32));
const scale = Number(process.env['SCALE'] ?? 1);
console.log(`SEED=${seed}${scale === 1 ? '' : ` SCALE=${scale}`}`);
const outcomes: Outcome[] = [];
for (const soak of soaks.filter(({ name }) => asked.length === 0 || asked.includes(name))) {
  console.log(`\n${soak.name}: ${soak.about}`);
  const outcome = await timed(soak);
  print(outcome);
  outcomes.push(outcome);
  // After each: a run that is cut short leaves what it knows.
  fse.writeJsonSync('soak.json', { at: new Date().toISOString(), node: process.version, seed, scale, outcomes }, { spaces: 2 });
}
const failed = outcomes.filter(({ figures, error }) => error !== undefined || figures.some(({ holds }) => !holds));
console.log(failed.length === 0 ? `\n${outcomes.length} soaks hold` : `\n${failed.map(({ name }) => name).join(', ')} failed; SEED=${seed} runs the same again`);
process.exitCode = failed.length === 0 ? 0 : 1;

async function timed(soak: Soak): Promise<Outcome> {
  const startedAt = performance.now();
  const seconds = () => Math.round((performance.now() - startedAt) / 1000);
  const progress = (text: string) => console.log(`  ${String(seconds()).padStart(5)} s  ${text}`);
  try {
    const figures = await soak.run({ seed, scale, progress });
    return { name: soak.name, seconds: seconds(), figures, error: undefined };
  } catch (error) {
    console.error(error);
    return { name: soak.name, seconds: seconds(), figures: [], error: messageOf(error) };
  }
}

function print({ name, seconds, figures, error }: Outcome): void {
  const rows = [['WHAT', 'MEASURED', 'WANTED', ''], ...figures.map(({ what, value, wanted, holds }) => [what, `${value}`, wanted, wanted === '' ? '' : holds ? 'holds' : 'FAILS'])];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows) console.log(`  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ').trimEnd()}`);
  console.log(`  ${name} took ${seconds} s${error === undefined ? '' : `, and could not go on: ${error}`}`);
}
