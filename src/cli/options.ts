import { InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../api/duration.ts';
import { defaultAllowedRoots } from '../api/names.ts';
import { isNormalPath } from '../api/paths.ts';
import type { OutputFormat } from './io.ts';

/** Options that several commands share. Each is made anew: commander keeps values in them. */

export interface PolicyOptions {
  readonly file: readonly string[];
  readonly allowedRoot: readonly string[];
  readonly output: OutputFormat;
}

export function fileOption(): Option {
  return new Option('-f, --file <file>', 'YAML or JSON file with CachePolicies, - for standard input; may be repeated').argParser(collect((text) => text));
}

export function allowedRootOption(): Option {
  return new Option('--allowed-root <dir>', 'directory below which caches may lie; may be repeated, and replaces the default')
    .argParser(collect(allowedRoot))
    .default([...defaultAllowedRoots], defaultAllowedRoots.join(', '));
}

export function outputOption(...choices: OutputFormat[]): Option {
  return new Option('-o, --output <format>', 'how to print the result').choices(choices).default('table');
}

export function durationOption(flags: string, description: string, defaultMs: number, shownDefault: string): Option {
  return new Option(flags, description).argParser(duration).default(defaultMs, shownDefault);
}

export function countOption(flags: string, description: string, defaultCount: number): Option {
  return new Option(flags, description).argParser(wholeNumber).default(defaultCount);
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number, such as 20.');
  return Number(text);
}

/** The first use replaces the default, each later one adds. */
function collect<T>(parse: (text: string) => T): (text: string, previous: readonly T[] | undefined) => T[] {
  let replaced = false;
  return (text, previous) => {
    const before = replaced ? (previous ?? []) : [];
    replaced = true;
    return [...before, parse(text)];
  };
}

/** A slash at the end is what a shell's completion leaves. */
function allowedRoot(text: string): string {
  const path = text.replace(/(?<=.)\/+$/, '');
  if (!isNormalPath(path)) throw new InvalidArgumentError("It must be an absolute path other than /, without '.', '..' or '//', such as /var/cache.");
  return path;
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError('It must be a duration in d, h, m and s, such as 60s.');
  return ms;
}
