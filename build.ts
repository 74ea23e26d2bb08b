/**
 * Makes what runs outside the checkout: dist/agent.cjs (the agent's pod), dist/cachepolicy.cjs (command line and controller), and bin/cachepolicy.
 * CommonJS, because an ESM import of node:http loads undici, 14 MiB that the agent never uses.
 */
import { chmodSync, cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const here = import.meta.dirname;
const dist = join(here, 'dist');

rmSync(dist, { recursive: true, force: true });
await build({
  absWorkingDir: here,
  entryPoints: [
    { in: 'src/agent/main.ts', out: 'agent' },
    { in: 'src/main.ts', out: 'cachepolicy' },
  ],
  outdir: 'dist',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'cjs',
  // Bundled, koffi dies when it looks for its library; so it lies beside.
  external: ['koffi'],
  legalComments: 'none',
  logLevel: 'warning',
});
copyKoffi(join(dist, 'node_modules'));
writeLauncher(join(here, 'bin'));

/** The module and the native library of this platform, without its sources and documentation (8 MiB). */
function copyKoffi(target: string): void {
  const source = join(here, 'node_modules');
  for (const file of ['package.json', 'index.cjs', 'LICENSE.txt', 'src/koffi/index.cjs']) cpSync(join(source, 'koffi', file), join(target, 'koffi', file));
  for (const platform of readdirSync(join(source, '@koromix'))) {
    cpSync(join(source, '@koromix', platform), join(target, '@koromix', platform), { recursive: true });
  }
}

/** Brings its own Node: whatever is first on PATH may be too old. Works through a symbolic link to it. */
function writeLauncher(bin: string): void {
  mkdirSync(bin, { recursive: true });
  const file = join(bin, 'cachepolicy');
  writeFileSync(
    file,
    `#!/bin/sh
# Written by build.ts.
home=$(dirname "$(dirname "$(readlink -f "$0")")")
case $(uname -m) in aarch64 | arm64) arch=arm64 ;; *) arch=x64 ;; esac
exec "$home/node_modules/node-linux-$arch/bin/node" "$home/dist/cachepolicy.cjs" "$@"
`,
  );
  chmodSync(file, 0o755);
}
