import { expect, test } from 'vitest';
import { disguisedMount, parseMounts, readMounts } from '../../src/disk/mounts.ts';

const host = '20 1 8:1 / / rw - ext4 /dev/a rw';

function disguise(...lines: readonly string[]) {
  const mounts = parseMounts([host, ...lines].join('\n'));
  return disguisedMount(mounts, mounts.at(-1)?.id ?? 0n)?.root;
}

test('the mounts of this process are read', () => {
  expect(readMounts().map((mount) => mount.mountPoint)).toContain('/proc');
});

test('blanks and newlines in paths are read back from octal', () => {
  expect(parseMounts('7 1 0:1 /a\\040b /c\\012d rw - tmpfs t rw')).toMatchObject([{ root: '/a b', mountPoint: '/c\nd' }]);
});

test.each([
  ['a whole filesystem', '30 20 8:2 / /var/lib/a3s-box rw - xfs /dev/b rw'],
  ['a hostPath of the same name', '30 20 8:1 /var/lib/a3s-box /var/lib/a3s-box rw - ext4 /dev/a rw'],
  ['a hostPath from a filesystem mounted at /var', '30 20 8:2 /lib/a3s-box /var/lib/a3s-box rw - xfs /dev/b rw'],
  ['a hostPath from a subvolume', '30 20 0:9 /@/var/lib/a3s-box /var/lib/a3s-box rw - btrfs /dev/b rw'],
  ['a hostPath of a node that is a container itself', '30 20 8:1 /var/lib/docker/volumes/0a/_data/lib/a3s-box /var/lib/a3s-box rw - ext4 /dev/a rw'],
])('%s shows what its mount point says', (_, line) => {
  expect(disguise(line)).toBeUndefined();
});

test('a hostPath that was a symbolic link shows its target', () => {
  expect(disguise('30 20 8:1 /etc /var/lib/a3s-box rw - ext4 /dev/a rw')).toBe('/etc');
});

test('a mount below a disguised one does not hide it', () => {
  expect(disguise('30 20 8:1 /etc /var/lib/a3s-box rw - ext4 /dev/a rw', '31 30 0:9 / /var/lib/a3s-box/home rw - tmpfs t rw')).toBe('/etc');
});
