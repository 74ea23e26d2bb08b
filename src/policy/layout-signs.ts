import type { Layout } from './layouts.ts';
import { layouts } from './layouts.ts';

/** What the signs are looked up in. Listings are bounded by whoever reads: a name that is not seen is no sign. */
export interface LayoutReader {
  /** The directory's own path, absolute. */
  readonly path: string;
  /** What has a path below the directory, of which all but the last segment are folders; undefined where nothing has. */
  kindOf(path: string): 'Folder' | 'File' | 'Link' | undefined;
  /** Names in a folder below the directory, which itself is ''. */
  namesIn(path: string): readonly string[];
}

/**
 * The first layout of which the directory shows the signs.
 * @param below the directory that is to be a cache, by its path below the one that is read, which is '' for this one: a layout in which
 * it may be one is left out
 */
export function layoutOf(reader: LayoutReader, below = ''): Layout | undefined {
  const isServed = ({ served }: Layout) => below !== '' && served?.test(below) === true;
  return parsedLayouts.find(({ layout, signs }) => !isServed(layout) && signs.some((line) => line.every((sign) => sign(reader))))?.layout;
}

/** So many names that match a glob are followed, by how many globs the sign has: the work must not grow with a directory. */
const namesAGlob = [0, 64, 6, 4, 3];

type Sign = (reader: LayoutReader) => boolean;

const parsedLayouts: readonly { readonly layout: Layout; readonly signs: readonly (readonly Sign[])[] }[] = layouts.map((layout) => ({ layout, signs: layout.signs.map((line) => line.map(signOf)) }));

function signOf(text: string): Sign {
  if (text.startsWith('=')) {
    const own = text.slice(1).split('/').map(segmentOf);
    return ({ path }) => path.split('/').slice(1).slice(-own.length).every((name, i, tail) => tail.length === own.length && own[i]!.matches(name));
  }
  const kind = text.endsWith('/') ? 'Folder' : 'File';
  const segments = text.replace(/\/$/, '').split('/').map(segmentOf);
  const most = namesAGlob[segments.filter(({ literal }) => literal === undefined).length] ?? 2;
  return (reader) => isThere(reader, '', { segments, kind, most });
}

interface Segment {
  /** Undefined where it is a glob. */
  readonly literal: string | undefined;
  matches(name: string): boolean;
}

function segmentOf(text: string): Segment {
  if (!/[*?[]/.test(text)) return { literal: text, matches: (name) => name === text };
  const pattern = new RegExp(`^(?!\\.)${text.replaceAll('.', '\\.').replaceAll('*', '.*').replaceAll('?', '.')}$`, 's');
  return { literal: undefined, matches: (name) => pattern.test(name) };
}

interface Wanted {
  readonly segments: readonly Segment[];
  readonly kind: 'Folder' | 'File';
  readonly most: number;
}

function isThere(reader: LayoutReader, below: string, { segments: [first, ...rest], kind, most }: Wanted): boolean {
  if (first === undefined) return true;
  const names = first.literal === undefined ? reader.namesIn(below).filter((name) => first.matches(name)).slice(0, most) : [first.literal];
  return names.some((name) => {
    const path = below === '' ? name : `${below}/${name}`;
    const found = reader.kindOf(path);
    // A folder or a file may lie elsewhere, behind a link; the link itself is not followed.
    if (rest.length === 0) return found === kind || found === 'Link';
    return found === 'Folder' && isThere(reader, path, { segments: rest, kind, most });
  });
}
