/**
 * Makes what runs outside the checkout: dist/agent.cjs (the agent's pod), dist/cachepolicy.cjs (command line and controller), the modules
 * that the package exports, and bin/cachepolicy.
 * CommonJS, because an ESM import of node:http loads undici, 14 MiB that the agent never uses.
 */
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import fse from 'fs-extra';

const here = import.meta.dirname;
const dist = join(here, 'dist');
// Made beside and swapped in: whoever runs from dist meanwhile sees the old build or the new one.
const fresh = join(here, `dist.${process.pid}`);

const shared = {
  absWorkingDir: here,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'cjs',
  // The source stays in memory (2 MiB less in the agent) and is parsed at every start of a command.
  minifyWhitespace: true,
  legalComments: 'none',
  logLevel: 'warning',
} as const;

const outputs = { outdir: fresh, outExtension: { '.js': '.cjs' }, external: ['koffi', '@kubernetes/client-node'] };

await build({ ...shared, ...outputs, entryPoints: [{ in: 'src/agent/main.ts', out: 'agent' }] });
await build({
  ...shared,
  ...outputs,
  entryPoints: [
    { in: 'src/main.ts', out: 'cachepolicy' },
    // The package's exports: the backends of the trait, for programs of one's own.
    { in: 'src/cache/filesystem-cache.ts', out: 'filesystem-cache' },
    { in: 'src/cache/memory-cache.ts', out: 'memory-cache' },
  ],
});
await bundleClientNode(join(fresh, 'node_modules/@kubernetes/client-node'));
copyKoffi(join(fresh, 'node_modules'));
swap();
writeLauncher(join(here, 'bin'));

/** Where nothing has changed, whoever runs from dist keeps it: who starts between the two moves would find none. */
function swap(): void {
  if (existsSync(dist) && contentOf(dist).equals(contentOf(fresh))) return fse.removeSync(fresh);
  const old = `${fresh}.old`;
  if (existsSync(dist)) fse.moveSync(dist, old);
  fse.moveSync(fresh, dist);
  fse.removeSync(old);
}

function contentOf(dir: string): Buffer {
  const hash = createHash('sha256');
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' }).toSorted()) {
    const file = join(dir, name);
    if (lstatSync(file).isFile()) hash.update(`${name}\0`).update(createHash('sha256').update(readFileSync(file)).digest());
  }
  return hash.digest();
}

/** 18 MiB that only a controller outside a cluster loads: in the same file, everybody would read them. */
async function bundleClientNode(target: string): Promise<void> {
  await build({ ...shared, entryPoints: ['@kubernetes/client-node'], outfile: join(target, 'index.js') });
  fse.outputJsonSync(join(target, 'package.json'), { name: '@kubernetes/client-node', main: './index.js' });
}

/** Bundled, koffi dies when it looks for its library; so the module and the library of this platform lie beside, without 8 MiB of sources. */
function copyKoffi(target: string): void {
  const source = join(here, 'node_modules');
  for (const file of ['package.json', 'index.cjs', 'LICENSE.txt', 'src/koffi/index.cjs', 'src/koffi/src/static.cjs']) {
    fse.copySync(join(source, 'koffi', file), join(target, 'koffi', file));
  }
  for (const platform of readdirSync(join(source, '@koromix'))) {
    fse.copySync(join(source, '@koromix', platform), join(target, '@koromix', platform));
  }
}

/** Brings its own Node: whatever is first on PATH may be too old. Works through a symbolic link to it. */
function writeLauncher(bin: string): void {
  const file = join(bin, 'cachepolicy');
  fse.outputFileSync(
    file,
    `#!/bin/sh
# Written by build.ts.
home=$(dirname "$(dirname "$(readlink -f "$0")")")
case $(uname -m) in aarch64 | arm64) arch=arm64 ;; *) arch=x64 ;; esac
# Under nohup(1) SIGHUP is ignored, which Node does not keep.
case $(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status 2>/dev/null) in *[13579bdf]) export CACHEPOLICY_NOHUP=1 ;; esac
exec "$home/node_modules/node-linux-$arch/bin/node" "$home/dist/cachepolicy.cjs" "$@"
`,
  );
  chmodSync(file, 0o755);
}
