import type { FormatName } from '../../policy/compiled.ts';
import { a3sLayers } from './a3s-layers.ts';
import { a3sRootfs } from './a3s-rootfs.ts';
import type { Format } from './format.ts';

/** Every format there is, by the name it has in a compiled policy. */
export const formats: Readonly<Record<FormatName, Format>> = {
  'a3s-rootfs': a3sRootfs,
  'a3s-layers': a3sLayers,
};
