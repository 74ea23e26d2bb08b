import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, closeSync, constants, ftruncateSync, lchownSync, linkSync, lstatSync, mkdirSync, openSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../../src/errors.ts';
import type { MutatedAgent } from './mutated-agent.ts';
import type { MutatedCaches } from './mutated-caches.ts';
import type { Random } from './soak.ts';

type Undo = () => void;

/** After these a whole cache is refused, or nothing is done at all: seldom, so that there is something to mutate. */
const stopsAll: ReadonlySet<string> = new Set(['swapRoot', 'renameRoot', 'ownRoot', 'modeRoot', 'fill', 'stop']);

/** Changes the caches and their agent at random, and undoes most of it some time later. */
export class Mutator {
  readonly harm: string[] = [];
  readonly kinds: Record<string, number> = {};
  mutations = 0;
  readonly #scratch: string;
  readonly #random: Random;
  readonly #caches: MutatedCaches;
  readonly #agent: MutatedAgent;
  readonly #undos: { readonly atMs: number; readonly undo: Undo; tries: number }[] = [];
  #asides = 0;

  constructor(scratch: string, random: Random, caches: MutatedCaches, agent: MutatedAgent) {
    this.#scratch = scratch;
    this.#random = random;
    this.#caches = caches;
    this.#agent = agent;
  }

  /** Does one thing. Kills are left out while the agent is watched for growth. */
  mutateOnce(mayKill: boolean): void {
    const kinds = Object.keys(this.#acts).filter((kind) => (kind === 'kill' ? mayKill : !stopsAll.has(kind) || this.#random.chance(0.15)));
    const kind = kinds[this.#random.below(kinds.length)]!;
    this.#attempt(() => {
      const undo = this.#acts[kind]!();
      this.mutations += 1;
      this.kinds[kind] = (this.kinds[kind] ?? 0) + 1;
      if (undo !== undefined) this.#undos.push({ atMs: Date.now() + this.#random.between(20, 3_000), undo, tries: 100 });
    });
  }

  /** The latest first: one that was made upon another goes before it. */
  undo(all = false): void {
    for (const due of this.#undos.filter(({ atMs }) => all || atMs < Date.now()).toReversed()) {
      // What a later one stands in the way of is undone after that.
      const undone = this.#attempt(due.undo);
      due.tries -= 1;
      if (undone || due.tries === 0) this.#undos.splice(this.#undos.indexOf(due), 1);
    }
  }

  /** @throws where something is left that would make a fresh start of the caches reach a canary */
  undoAll(): void {
    for (let turn = 0; turn < 50; turn += 1) this.undo(true);
    this.#unmountAll();
    const left = [...this.#mountPoints(), ...this.#caches.roots.filter((root) => !lstatSync(root, { throwIfNoEntry: false })?.isDirectory())];
    if (left.length > 0) throw new Error(`the mutations cannot undo ${left.join(', ')}`);
  }

  /** What was just renamed, is full or busy cannot be mutated: next time. */
  #attempt(act: () => void): boolean {
    try {
      act();
      return true;
    } catch (error) {
      if (errnoOf(error) === undefined && (error as { status?: unknown }).status === undefined) throw error;
      return false;
    }
  }

  readonly #acts: Readonly<Record<string, () => Undo | undefined>> = {
    swapEntry: () => this.#swap(this.#entry()),
    swapInside: () => this.#swap(join(this.#entry(), this.#pick(['inner', 'inner/weights', 'config']))),
    swapOwn: () => this.#swap(this.#own()),
    swapRoot: () => this.#swap(this.#pick(this.#caches.roots)),
    renameEntry: () => this.#rename(this.#entry()),
    renameOwn: () => this.#rename(this.#own()),
    renameRoot: () => {
      const root = this.#pick(this.#caches.roots);
      return this.#moved(root, `${root}-renamed`);
    },
    renameIntoAnother: () => {
      const from = this.#entry();
      return this.#moved(from, join(this.#pick(this.#caches.roots), basename(from)));
    },
    moveOut: () => {
      const from = this.#changeable(this.#entry());
      // An agent goes on in its own folder by the handle it has, wherever the folder is.
      if (!/^(model-\d+|[0-9a-f]{64})$/.test(basename(from))) throw Object.assign(new Error(`${from} is no entry`), { code: 'EINVAL' });
      const to = this.#aside();
      // A mount moves with its entry, and the end of the mount would count as a change.
      this.#unmountAll();
      this.#caches.moveOut(from, to);
      return () => {
        const harm = this.#caches.moveIn(to, from);
        if (harm !== undefined) this.harm.push(harm);
      };
    },
    cutOwn: () => this.#cut(this.#own()),
    cutEntry: () => this.#cut(this.#random.chance(0.5) ? this.#entry() : join(this.#entry(), 'config')),
    own: () => this.#chown(this.#random.chance(0.3) ? this.#own() : this.#entry()),
    ownRoot: () => this.#chown(this.#pick(this.#caches.roots)),
    mode: () => this.#chmod(this.#random.chance(0.3) ? this.#own() : this.#entry()),
    modeRoot: () => this.#chmod(this.#pick([...this.#caches.roots, join(this.#caches.box, 'open')])),
    mountOver: () => this.#mount(this.#entry()),
    mountInside: () => this.#mount(join(this.#entry(), this.#pick(['inner', 'config']))),
    mountOwn: () => this.#mount(this.#own()),
    lock: () => this.#lock(this.#pick([this.#own(), this.#entry(), ...this.#caches.roots])),
    hostileName: () => {
      const root = this.#pick(this.#caches.roots);
      const name = this.#pick([Buffer.from([0xff, 0xfe, 0x80]), Buffer.from('a\nb\x1b[31m'), Buffer.alloc(255, 'x'), Buffer.from('.cachepolicy-x'), Buffer.from('..x'), Buffer.from('-rf')]);
      this.#changeable(join(root, 'x'));
      const path = Buffer.concat([Buffer.from(`${root}/`), name]);
      mkdirSync(path);
      writeFileSync(Buffer.concat([path, Buffer.from('/file')]), 'x');
      return undefined;
    },
    fifo: () => void execFileSync('mkfifo', [this.#changeable(join(this.#pick([this.#pick(this.#caches.roots), this.#entry()]), `fifo-${this.#random.below(5)}`))], { stdio: 'ignore' }),
    hardLink: () => void linkSync(join(this.#canary(), 'whole'), this.#changeable(join(this.#entry(), `linked-${this.#random.below(5)}`))),
    linkInside: () => void symlinkSync(this.#canary(), this.#changeable(join(this.#entry(), `link-${this.#random.below(5)}`))),
    stop: () => {
      this.#agent.signal('SIGSTOP');
      return () => this.#agent.signal('SIGCONT');
    },
    kill: () => {
      this.#agent.kill();
      this.#agent.start();
      return undefined;
    },
    fill: () => {
      const path = join(this.#scratch, 'filler');
      const fd = openSync(path, 'w');
      try {
        for (;;) writeSync(fd, Buffer.alloc(1 << 20));
      } catch (error) {
        if (errnoOf(error) !== 'ENOSPC') throw error;
      } finally {
        closeSync(fd);
      }
      return () => rmSync(path, { force: true });
    },
  };

  #pick<Item>(items: readonly Item[]): Item {
    const item = items[this.#random.below(items.length)];
    if (item === undefined) throw Object.assign(new Error('nothing there'), { code: 'ENOENT' });
    return item;
  }

  #entry(): string {
    return this.#pick(this.#caches.namesIn(this.#pick(this.#caches.roots)));
  }

  #own(): string {
    return this.#pick(this.#caches.ownPaths());
  }

  #canary(): string {
    return this.#pick(this.#caches.canaries);
  }

  #aside(): string {
    return join(this.#caches.aside, `${(this.#asides += 1)}`);
  }

  #changeable(path: string): string {
    if (!this.#caches.mayChange(path)) throw Object.assign(new Error(`${path} leads to a canary`), { code: 'EPERM' });
    return path;
  }

  #swap(path: string): Undo {
    // A link in place of a link would leave the first one, whichever is undone first.
    if (lstatSync(path).isSymbolicLink()) throw Object.assign(new Error(`${path} is a link`), { code: 'EEXIST' });
    const aside = this.#aside();
    const target = join(this.#canary(), this.#pick(['.', 'inner', 'whole']));
    renameSync(this.#changeable(path), aside);
    symlinkSync(target, path);
    return () => {
      this.#changeable(path);
      if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() && readlinkSync(path) === target) unlinkSync(path);
      if (!isThere(path)) renameSync(aside, path);
    };
  }

  #rename(path: string): Undo {
    return this.#moved(path, join(dirname(path), this.#pick([`${basename(path)}-renamed`, `.${basename(path)}`, '.cachepolicy', '.cachepolicy-moved', 'model-renamed'])));
  }

  #moved(from: string, to: string): Undo {
    this.#changeable(from);
    this.#changeable(to);
    if (isThere(to)) throw Object.assign(new Error(`${to} is there`), { code: 'EEXIST' });
    renameSync(from, to);
    return () => {
      this.#changeable(from);
      this.#changeable(to);
      if (!isThere(from)) renameSync(to, from);
    };
  }

  #cut(path: string): undefined {
    this.#changeable(path);
    const stat = lstatSync(path);
    if (!stat.isFile()) return undefined;
    const fd = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    try {
      if (this.#random.chance(0.5)) ftruncateSync(fd, this.#random.below(stat.size + 1));
      else writeSync(fd, this.#pick(['{', '\0\0\0\0', '{"key":"../../canary","size_bytes":1e99}', '[]', 'x'.repeat(1 << 16)]), this.#random.below(stat.size + 1));
    } finally {
      closeSync(fd);
    }
    return undefined;
  }

  #chown(path: string): Undo | undefined {
    const { uid, gid } = lstatSync(this.#changeable(path));
    lchownSync(path, this.#pick([0, 1_000, 65_534]), this.#pick([0, 1_000]));
    return this.#random.chance(0.3) ? undefined : () => lchownSync(this.#changeable(path), uid, gid);
  }

  #chmod(path: string): Undo | undefined {
    const stat = lstatSync(this.#changeable(path));
    if (stat.isSymbolicLink()) return undefined;
    chmodSync(path, this.#pick([0, 0o555, 0o777, 0o1777, 0o2755, 0o4777]));
    return () => {
      if (!lstatSync(this.#changeable(path)).isSymbolicLink()) chmodSync(path, stat.mode & 0o7777);
    };
  }

  #mount(path: string): Undo {
    const stat = lstatSync(this.#changeable(path));
    // mount follows a link, into a canary.
    if (stat.isSymbolicLink()) throw Object.assign(new Error(`${path} is a link`), { code: 'ELOOP' });
    const isFile = !stat.isDirectory();
    execFileSync('mount', ['--bind', isFile ? join(this.#canary(), 'whole') : this.#canary(), path], { stdio: 'ignore' });
    return () => this.#unmountAll();
  }

  #unmountAll(): void {
    for (const point of this.#mountPoints().toReversed()) this.#attempt(() => void execFileSync('umount', ['--lazy', point.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCodePoint(Number.parseInt(octal, 8)))], { stdio: 'ignore' }));
  }

  #mountPoints(): string[] {
    return readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((line) => line.split(' ')[4] ?? '').filter((point) => point.startsWith(`${this.#scratch}/`));
  }

  /** A process that has the lock and does not go on. */
  #lock(path: string): Undo {
    if (lstatSync(path).isFIFO()) return () => {};
    const holder: ChildProcess = spawn('flock', ['--nonblock', '--no-fork', path, 'sleep', '600'], { stdio: 'ignore' });
    holder.on('error', () => {});
    setTimeout(() => holder.kill('SIGSTOP'), 30);
    return () => void holder.kill('SIGKILL');
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
