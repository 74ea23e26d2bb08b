import { a3sStore } from './a3s-store.ts';

/** `<home>/cache/layers`: extracted OCI layers by digest. The runtime marks no use of them, so `protect.minIdle` is what guards them. */
export const a3sLayers = a3sStore({
  name: 'a3s-layers',
  holdSources: ['Mount', 'Flock'],
  keyField: 'digest',
  hasDescription: false,
  directoryOf: (digest) => digest.replaceAll(':', '_'),
  ordinaryName: /^sha256_[0-9a-f]{64}$/,
});
