import { ProcessIo } from './cli/io.ts';
import { runCommandLine } from './cli/program.ts';

const io = new ProcessIo();

void runCommandLine(process.argv.slice(2), io).then(async (code) => {
  process.exitCode = await io.end(code);
});
