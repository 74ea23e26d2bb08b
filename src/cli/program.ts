import { Command, Option } from 'commander';
import { version } from '../version.ts';
import { tellFailure } from './exit.ts';
import type { ExitCode } from './exit.ts';
import type { Io } from './io.ts';
import { allowedRootOption, countOption, durationOption, fileOption, outputOption } from './options.ts';

/**
 * Runs one command line. Each command's code is loaded only when it is the one to run.
 * @param args without the program's own name
 */
export async function runCommandLine(args: readonly string[], io: Io): Promise<ExitCode> {
  let exitCode: ExitCode = 0;
  const program = describeProgram(io, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    return tellFailure(error, io);
  }
}

type Done = (code: ExitCode) => void;

function describeProgram(io: Io, done: Done): Command {
  const program = new Command('cachepolicy')
    .description('Limits for the caches of a machine or a cluster: least recently used entries go first, an entry in use never goes.')
    .version(version, '-V, --version', 'print the version')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text), outputError: (text, write) => write(text.replace(/^error: /, '')) })
    .showHelpAfterError('(--help shows what is allowed)')
    .addHelpText('after', `
Examples:
  cachepolicy plan -f policy.yaml        what would be evicted, and what stands in the way
  cachepolicy explain -f policy.yaml     the fate of every entry, with its reason
  cachepolicy prune -f policy.yaml       apply the limits once
  cachepolicy history -f policy.yaml     what was evicted, when and why
  cachepolicy agent -f policy.yaml       apply them until stopped

Exit status: 0 done; 1 something failed, all else was still done; 2 the input is wrong, nothing was touched;
3 (plan, prune) nothing failed, and a limit is not met all the same; 130 stopped by a signal, what was done until then is told.
A result that cannot be written is a failure; a log that cannot be written stops nothing.`);
  addPolicyCommands(program, io, done);
  addEntryCommands(program, io, done);
  addServices(program, io, done);
  return program;
}

function addPolicyCommands(program: Command, io: Io, done: Done): void {
  program.command('prune')
    .description('apply the limits of the policies to the caches on this machine, once')
    .addOption(fileOption().makeOptionMandatory())
    .option('--dry-run', 'evict nothing, show what would go')
    .addOption(durationOption('--rest <duration>', 'how long evicted entries rest, and may still come back, before they are deleted', 0, '0s'))
    .addOption(settleOption())
    .addOption(outputOption('table', 'json'))
    .addOption(allowedRootOption())
    .addHelpText('after', `
Honours spec.mode; ignores spec.schedule and spec.nodeSelector. Every policy of every file is checked before any cache is touched.

-o json prints {"caches": [...]}, each with name, policy, root, mode, stats {entryCount, totalBytes} after the run, usage, otherBytes {damaged, leftovers, unrecognised, own, unmeasured} of what is
no entry, bytesInAll, to be compared with du,
evicted and wouldEvict [{key, sizeBytes, freedBytes, reason}] (freedBytes: less than sizeBytes where hard links elsewhere keep files), held {inUse, kept, recent} of {entries, bytes} each, expiredPins [{by, pattern, until, reason}], damaged [{name, reason, message}],
leaving {entries, bytes}, leftovers [{name, kind}], unrecognised [name], clockDoubt (null, or why the clock is not believed: then nothing goes for maxIdle), errors [{code, message, entry}], revived, raced, failed, leftoversRemoved, purged {entries, bytes},
unmet [{limit, allowed, remaining, because}]: the limits that are not met, because of Protected (in use, kept or recent), HeldAlone (the same,
so that nothing is evicted for the limit), NotReclaimable, BeyondCapacity, Failed (could not be evicted), Meanwhile (used or added during the
run) or Stopped. Exit status 3 says the same where nothing failed.

Examples:
  cachepolicy prune -f policy.yaml --dry-run
  cachepolicy prune -f policy.yaml -o json
  kubectl get cachepolicy a3s-box -o yaml | cachepolicy prune -f -`)
    .action(async (options) => done(await (await import('./prune.ts')).prune(options, io)));
  program.command('plan')
    .description('show what prune would evict, with a bar for each limit')
    .addOption(fileOption().makeOptionMandatory()).addOption(outputOption('table', 'json')).addOption(allowedRootOption())
    .addHelpText('after', `
-o json is that of prune. Exit status 3: a limit cannot be met.

Examples:
  cachepolicy plan -f policy.yaml
  cachepolicy plan -f policy.yaml -o json | jq '.caches[].wouldEvict[].key'`)
    .action(async (options) => done(await (await import('./plan.ts')).plan(options, io)));
  program.command('explain')
    .description('show the fate of every entry, least recently used first, with the reason')
    .addOption(fileOption().makeOptionMandatory())
    .addOption(new Option('--verdict <verdict>', 'only entries with this fate').choices(['evict', 'keep']))
    .addOption(outputOption('table', 'wide', 'json')).addOption(allowedRootOption())
    .addHelpText('after', `
Reasons to stay: InUse, Kept (pinned by protect.keep), Recent (used within protect.minIdle), WithinLimits. Reasons to go: MaxIdle, MaxEntries, MaxBytes, MinFree, MinFreeInodes.

Examples:
  cachepolicy explain -f policy.yaml
  cachepolicy explain -f policy.yaml --verdict evict     only what would go
  cachepolicy explain -f policy.yaml -o wide             whole keys`)
    .action(async (options) => done(await (await import('./explain.ts')).explain(options, io)));
  program.command('stats')
    .description('show entries, bytes and usage of each cache')
    .addOption(fileOption().makeOptionMandatory()).addOption(outputOption('table', 'json')).addOption(allowedRootOption())
    .addHelpText('after', `
Example:
  cachepolicy stats -f policy.yaml`)
    .action(async (options) => done(await (await import('./stats.ts')).stats(options, io)));
  program.command('history')
    .description('show what was evicted and what came back, newest first')
    .argument('[caches...]', 'only of these caches of the policies')
    .addOption(fileOption().makeOptionMandatory())
    .addOption(countOption('-n, --number <count>', 'how many events to show', 20))
    .addOption(outputOption('table', 'wide', 'json')).addOption(allowedRootOption())
    .addHelpText('after', `
Each cache remembers its last 1,000 events, whoever evicted: prune or an agent. What came back was wanted again while it rested.
-o json prints {"events": [...]}, each with time, cache, policy, event (Evicted, Revived), key, description, sizeBytes, reason, trigger.

Examples:
  cachepolicy history -f policy.yaml rootfs -n 100
  cachepolicy history -f policy.yaml -o json | jq -r '.events[] | select(.reason == "MaxIdle") | .description'`)
    .action(async (caches: string[], options) => done(await (await import('./history.ts')).history(caches, options, io)));
}

function addEntryCommands(program: Command, io: Io, done: Done): void {
  const entry = program.command('entry')
    .description('list, read, store or remove single entries of one cache')
    .helpCommand(false)
    .addHelpText('after', `
The cache is one of a policy (-f FILE, and --cache NAME where the file has several) or is named directly (--home DIR --store rootfs).

Examples:
  cachepolicy entry list -f policy.yaml --cache rootfs
  cachepolicy entry get --home /var/lib/a3s-box/home --store rootfs KEY
  cachepolicy entry invalidate -f policy.yaml KEY`);
  const command = (nameAndArguments: string, description: string): Command =>
    entry.command(nameAndArguments).description(description)
      .addOption(fileOption())
      .option('--cache <name>', 'which cache of the policies')
      .addOption(new Option('--home <dir>', 'home of an A3S Box runtime, instead of a policy').conflicts(['file', 'cache']))
      .addOption(new Option('--store <store>', 'store of that home').choices(['rootfs', 'layers']).conflicts(['file', 'cache']))
      .addOption(new Option('--cache-dir <dir>', 'where the runtime of that home keeps its cache (default: cache in the home)').conflicts(['file', 'cache']))
      .addOption(allowedRootOption());
  command('list', 'list the entries, least recently used first')
    .addOption(outputOption('table', 'json'))
    .action(async (options) => done(await (await import('./entry.ts')).listEntries(options, io)));
  command('get <key>', 'print the path of an entry; this counts as a use')
    .action(async (key: string, options) => done(await (await import('./entry.ts')).getEntry(key, options, io)));
  command('put <key> <dir>', 'store a copy of a directory under a key and print its path; an entry of that key is replaced')
    .option('--description <text>', 'what the entry is, such as the name of an image', '')
    .action(async (key: string, dir: string, options) => done(await (await import('./entry.ts')).putEntry(key, dir, options, io)));
  command('invalidate <key>', 'remove an entry; one that is absent is no error, one in use is refused')
    .option('--force', 'remove it even while it is in use: what uses it will see its files go')
    .addOption(settleOption())
    .action(async (key: string, options) => done(await (await import('./entry.ts')).invalidateEntry(key, options, io)));
}

function addServices(program: Command, io: Io, done: Done): void {
  program.command('agent')
    .description('apply the policies of a file to this machine until stopped')
    .addOption(fileOption().makeOptionMandatory())
    .addOption(durationOption('--rest <duration>', 'how long evicted entries rest before they are deleted', 60_000, '60s'))
    .addOption(settleOption())
    .addOption(allowedRootOption())
    .addHelpText('after', `
The file is read again when it changes; one that turns bad leaves the last good policies in force. In a cluster the agents are pods of their
own, which the controller starts. To apply the limits once, use prune.

Example:
  cachepolicy agent -f policy.yaml`)
    .action(async (options) => done(await (await import('./agent-on-file.ts')).agentOnFile(options, io)));
  program.command('controller')
    .description('turn the CachePolicies of a cluster into agents and sum up their reports')
    .option('--listen <address:port>', 'where to serve health and metrics', ':8080')
    .option('--image <image>', "image of the agents (default: that of the Deployment cachepolicy-controller)")
    .option('--namespace <name>', 'namespace of the operator (default: that of the pod, else cachepolicy-system)')
    .option('--kubeconfig <file>', 'outside a cluster: how to reach the API server (default: KUBECONFIG, then ~/.kube/config)')
    .option('--context <name>', 'outside a cluster: context of the kubeconfig')
    .action(async (options) => done(await (await import('./controller.ts')).controller(options, io)));
}

function settleOption(): Option {
  return durationOption('--settle <duration>', 'how long an entry is watched, twice, for a sign that it is wanted before it is evicted', 2_000, '2s');
}
