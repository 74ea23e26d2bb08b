import { a3sStore } from './a3s-store.ts';

/** `<home>/cache/rootfs`: root file systems, built from an image and used as overlay lowers of boxes, which leave a marker. */
export const a3sRootfs = a3sStore({
  name: 'a3s-rootfs',
  holdSources: ['Box', 'Mount', 'Flock'],
  keyField: 'key',
  hasDescription: true,
  directoryOf: (key) => key,
  ordinaryName: /^[0-9a-f]{64}$/,
});
