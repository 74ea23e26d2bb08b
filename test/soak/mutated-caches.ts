import type { Stats } from 'node:fs';
import { chmodSync, existsSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Random } from './soak.ts';

const heldKey = 'f'.repeat(64);

/** How many entries each cache may have. */
export const maxEntries = 4;

/** Three caches on one filesystem, with canaries and entries in use: what a mutation may change, and what nobody may. */
export class MutatedCaches {
  readonly box: string;
  readonly rootfs: string;
  readonly roots: readonly string[];
  readonly canaries: readonly string[];
  readonly aside: string;
  added = 0;
  readonly #before: string;
  /** The directories and files of the canaries: a mutation that would change one is left out. */
  readonly #canaryInodes: ReadonlySet<number>;
  readonly #held: readonly { readonly name: string; readonly path: string; readonly before: string }[];
  readonly #outside = new Map<string, string>();

  constructor(scratch: string) {
    this.box = join(scratch, 'box');
    this.aside = join(scratch, 'aside');
    this.rootfs = join(this.box, 'home/cache/rootfs');
    this.roots = [this.rootfs, join(this.box, 'open/models'), join(this.box, 'data/models')];
    this.canaries = [join(scratch, 'canary'), join(this.box, 'canary')];
    for (const dir of [...this.roots, this.aside, join(this.box, 'home/boxes/one')]) mkdirSync(dir, { recursive: true });
    chmodSync(join(this.box, 'open'), 0o1777);
    for (const canary of this.canaries) {
      mkdirSync(join(canary, 'inner/below'), { recursive: true });
      for (const name of ['whole', 'weights', 'inner/whole', 'inner/below/whole']) writeFileSync(join(canary, name), 'canary', { mode: 0o640 });
      // More than a cache may have: taken for one, it loses some.
      for (let n = 0; n < 2 * maxEntries; n += 1) {
        mkdirSync(join(canary, `model-${n}`));
        writeFileSync(join(canary, `model-${n}`, 'weights'), 'canary');
        for (const name of ['weights', '.']) utimesSync(join(canary, `model-${n}`, name), 1_000, 1_000);
      }
    }
    this.#before = this.#canariesNow();
    this.#canaryInodes = new Set(this.canaries.flatMap((canary) => ['.', ...readdirSync(canary, { recursive: true, encoding: 'utf8' })].map((name) => statSync(join(canary, name)).ino)));
    writeFileSync(join(this.box, 'home/boxes/one/.rootfs-cache-key'), heldKey);
    const names = [heldKey, 'held', 'held'];
    this.#held = this.roots.map((root, i) => {
      this.#put(root, names[i]!);
      const name = join(root, names[i]!);
      // Read by the handle: the folder may be renamed meanwhile. The open file is what a directory cache knows a use by.
      const fd = openSync(name, 'r');
      openSync(join(name, 'inner/weights'), 'r');
      openSync(join(name, 'config'), 'r');
      const path = `/proc/self/fd/${fd}`;
      return { name, path, before: treeOf(path) };
    });
  }

  /** Adds an entry to each cache that is there under its name, as whoever downloads does. */
  add(random: Random): void {
    for (const root of this.roots) {
      if (!this.mayChange(join(root, 'x'))) continue;
      this.added += 1;
      const name = root === this.rootfs ? this.added.toString(16).padStart(64, '0') : `model-${this.added}`;
      this.#put(root, name, random.between(100, 5_000));
    }
  }

  /** The names in a cache but those of entries in use. */
  namesIn(root: string): string[] {
    return readdirSync(root).filter((name) => !name.startsWith(heldKey) && name !== 'held').map((name) => join(root, name));
  }

  /** Our own folders wherever they may lie, with two levels of what they hold. */
  ownPaths(): string[] {
    const places = new Set([this.box, ...this.roots.flatMap((root) => [root, dirname(root), dirname(dirname(root))])]);
    const tops = [...places].filter((place) => this.mayChange(join(place, 'x'))).flatMap((place) => readdirSync(place).filter((name) => name.startsWith('.cachepolicy')).map((name) => join(place, name)));
    const below = (dirs: readonly string[]) => dirs.flatMap((dir) => (lstatSync(dir).isDirectory() ? readdirSync(dir).map((name) => join(dir, name)) : []));
    const first = below(tops);
    return [...tops, ...first, ...below(first)];
  }

  /** Whether neither a path nor the directory it lies in is a canary: reached by a link or a mount, it is one. */
  mayChange(path: string): boolean {
    const parent = statSync(dirname(path), { throwIfNoEntry: false });
    const own = lstatSync(path, { throwIfNoEntry: false });
    return parent?.isDirectory() === true && !this.#isCanary(parent) && (own === undefined || !this.#isCanary(own));
  }

  /** Moves an entry out of its cache: from then on nobody may change it. @returns where it is */
  moveOut(path: string, to: string): void {
    renameSync(path, to);
    if (lstatSync(to).isDirectory()) this.#outside.set(to, treeOf(to));
  }

  moveIn(from: string, to: string): string | undefined {
    const harm = this.#harmOutside(from);
    this.#outside.delete(from);
    if (this.mayChange(to) && !existsSync(to)) renameSync(from, to);
    return harm;
  }

  /** What is not as it was. */
  harm(): string[] {
    const canaries = this.#canariesNow();
    return [
      ...(canaries === this.#before ? [] : [`canaries: ${differences(this.#before, canaries)}`]),
      ...this.#held.filter(({ path, before }) => treeOf(path) !== before).map(({ name, path, before }) => `in use: ${name}: ${differences(before, treeOf(path))}`),
      ...[...this.#outside.keys()].flatMap((path) => this.#harmOutside(path) ?? []),
    ];
  }

  /** Takes away all that mutations left, and adds entries beyond the limits. */
  startAfresh(random: Random): void {
    for (const path of [...this.ownPaths(), ...this.roots.flatMap((root) => this.namesIn(root))]) if (this.mayChange(path)) rmSync(path, { recursive: true, force: true });
    for (const root of this.roots) for (const name of readdirSync(root, { encoding: 'buffer' })) if (!/^(held|f{64}.*)$/.test(name.toString('latin1'))) rmSync(Buffer.concat([Buffer.from(`${root}/`), name]), { recursive: true, force: true });
    for (let n = 0; n < 8; n += 1) this.add(random);
  }

  /** Caches that are not within their limits, and entries in use that have lost their names. */
  stuck(): string[] {
    const many = this.roots.map((root) => ({ root, names: readdirSync(root).filter((name) => !name.startsWith('.') && !name.includes('.meta') && lstatSync(join(root, name), { throwIfNoEntry: false })?.isDirectory() === true) }));
    return [
      ...many.filter(({ names }) => names.length > maxEntries).map(({ root, names }) => `${root} has ${names.length} entries`),
      ...this.#held.filter(({ name, path }) => statSync(name, { throwIfNoEntry: false })?.ino !== statSync(path).ino).map(({ name }) => `${name} does not have its name`),
    ];
  }

  #put(root: string, name: string, ageSeconds = 9_000): void {
    const path = join(root, `.${name.slice(-20)}-aside`);
    mkdirSync(join(path, 'inner'), { recursive: true });
    for (const file of ['config', 'inner/weights']) writeFileSync(join(path, file), name);
    const at = Date.now() / 1_000 - ageSeconds;
    for (const each of ['config', 'inner/weights', 'inner', '.']) utimesSync(join(path, each), at, at);
    if (root === this.rootfs) {
      const metadata = { key: name, description: '', size_bytes: 2 * name.length, cached_at: Math.floor(at), last_accessed: Math.floor(at) };
      writeFileSync(join(root, `${name}.meta.json`), JSON.stringify(metadata));
    }
    renameSync(path, join(root, name));
  }

  #harmOutside(path: string): string | undefined {
    const now = treeOf(path);
    const before = this.#outside.get(path) ?? now;
    return now === before ? undefined : `moved out: ${path}: ${differences(before, now)}`;
  }

  #canariesNow(): string {
    return this.canaries.map(treeOf).join('; ');
  }

  #isCanary({ ino }: Stats): boolean {
    return this.#canaryInodes.has(ino);
  }
}

function differences(before: string, now: string): string {
  const [old, current] = [before, now].map((tree) => tree.split('; '));
  return [...old!.filter((line) => !current!.includes(line)).map((line) => `-${line}`), ...current!.filter((line) => !old!.includes(line)).map((line) => `+${line}`)].join('; ');
}

/** Names, modes, owners, times of change and contents; number of links and access times are anybody's. */
function treeOf(path: string): string {
  const lines: string[] = [];
  const walk = (at: string, name: string) => {
    const stat = lstatSync(at, { throwIfNoEntry: false });
    if (stat === undefined) return lines.push(`${name} gone`);
    const content = stat.isSymbolicLink() ? readlinkSync(at) : stat.isFile() ? readFileSync(at, 'base64') : '';
    lines.push(`${name} ${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.mtimeMs} ${content}`);
    if (stat.isDirectory()) for (const below of readdirSync(at).toSorted()) walk(join(at, below), join(name, below));
    return undefined;
  };
  walk(`${path}/.`, '.');
  return lines.join('; ');
}
