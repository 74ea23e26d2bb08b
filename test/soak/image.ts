import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What boxes are made of: a tree that its key and its number of files describe completely. */
export interface Image {
  readonly key: string;
  readonly files: number;
}

const filesInDir = 40;

export function imageOf(index: number, files: number): Image {
  return { key: index.toString(16).padStart(64, '0'), files };
}

function contentOf({ key }: Image, file: number): string {
  return `${key}:${file}`;
}

export function sizeOf(image: Image): number {
  let bytes = 0;
  for (let file = 0; file < image.files; file += 1) bytes += contentOf(image, file).length;
  return bytes;
}

export function makeTree(path: string, image: Image): void {
  mkdirSync(path, { recursive: true });
  for (let file = 0; file < image.files; file += 1) {
    const dir = join(path, `dir-${Math.floor(file / filesInDir)}`);
    if (file % filesInDir === 0) mkdirSync(dir);
    writeFileSync(join(dir, `file-${file}`), contentOf(image, file));
  }
}

/** Reads the whole tree. @returns what is wrong with it */
export function harmIn(path: string, image: Image): string | undefined {
  try {
    let found = 0;
    for (const dir of readdirSync(path)) found += readdirSync(join(path, dir)).length;
    if (found !== image.files) return `${found} of ${image.files} files`;
    for (let file = 0; file < image.files; file += 1) {
      const content = readFileSync(join(path, `dir-${Math.floor(file / filesInDir)}`, `file-${file}`), 'utf8');
      if (content !== contentOf(image, file)) return `file ${file} says ${content.slice(0, 20)}`;
    }
    return undefined;
  } catch (error) {
    return String(error);
  }
}
