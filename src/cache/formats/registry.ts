import type { FormatName, StoreFormatName } from '../../policy/compiled.ts';
import { a3sLayers } from './a3s-layers.ts';
import { a3sRootfs } from './a3s-rootfs.ts';
import { Directory } from './directory.ts';
import type { Format, StoreFormat } from './format.ts';

export const storeFormats: Readonly<Record<StoreFormatName, StoreFormat>> = {
  'a3s-rootfs': a3sRootfs,
  'a3s-layers': a3sLayers,
};

export interface FormatOptions {
  /** For a process that scans again and again: its first scan believes saved measures, and each measures a part. Default: the first scan measures every entry. */
  readonly inTurns?: boolean;
}

/** Every format there is, by the name it has in a compiled policy; made anew for each cache, for what it remembers of that cache. */
const makers: Readonly<Record<FormatName, (options: FormatOptions) => Format>> = {
  'a3s-rootfs': () => a3sRootfs,
  'a3s-layers': () => a3sLayers,
  directory: (options) => new Directory(options),
};

export function openFormat(name: FormatName, options: FormatOptions = {}): Format {
  return makers[name](options);
}
