import { processIo } from './cli/io.ts';
import { runCommandLine } from './cli/program.ts';

// The reader of a pipe may leave early (`| head`): that is its right and no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

void runCommandLine(process.argv.slice(2), processIo).then((code) => {
  process.exitCode = code;
});
