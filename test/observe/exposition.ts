/** A strict reader of the Prometheus text format, version 0.0.4: what it lets pass, promtool and Prometheus do. */
export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

const suffixes: Readonly<Record<string, readonly string[]>> = { histogram: ['_bucket', '_sum', '_count'] };

/** @throws Error that names the line */
export function parseExposition(text: string): ReadonlyMap<string, Family> {
  if (text !== '' && !text.endsWith('\n')) throw new Error('the last line does not end');
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let help: { name: string; help: string } | undefined;
  let current: { name: string; family: Family } | undefined;
  for (const line of text.split('\n').slice(0, -1)) {
    if (line === '') continue;
    const wrong = (why: string) => new Error(`${why}: ${line}`);
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (comment !== null) {
      const [, kind, name = '', rest = ''] = comment;
      if (kind === 'HELP') help = { name, help: rest };
      else {
        if (help?.name !== name) throw wrong('a type without its help before it');
        if (families.has(name)) throw wrong('a family twice');
        if (!/^(counter|gauge|histogram|summary|untyped)$/.test(rest)) throw wrong('no type');
        if (rest === 'counter' && !name.endsWith('_total')) throw wrong('a counter is called …_total');
        if (rest !== 'counter' && /_(total|count|sum|bucket)$/.test(name)) throw wrong('a name that means another type');
        current = { name, family: { type: rest, help: help.help, samples: [] } };
        families.set(name, current.family);
      }
      continue;
    }
    const [, name = '', , inBraces, value = ''] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name === '' || current === undefined) throw wrong('no sample');
    const own = (suffixes[current.family.type] ?? ['']).map((suffix) => `${current?.name}${suffix}`);
    if (!own.includes(name)) throw wrong(`no sample of ${current.name}`);
    if (seen.has(line.slice(0, line.lastIndexOf(' ')))) throw wrong('a sample twice');
    seen.add(line.slice(0, line.lastIndexOf(' ')));
    if (!/^([+-]?(\d+(\.\d+)?([eE][+-]?\d+)?|Inf)|NaN)$/.test(value)) throw wrong('no value');
    current.family.samples.push({ name, labels: labelsIn(inBraces ?? '', wrong), value: Number(value.replace('Inf', 'Infinity')) });
  }
  for (const [name, { type, samples }] of families) if (type === 'histogram') checkHistogram(name, samples);
  return families;
}

function labelsIn(text: string, wrong: (why: string) => Error): Record<string, string> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== '') {
    const match = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/.exec(rest);
    const [whole = '', name = '', value = ''] = match ?? [];
    if (match === null) throw wrong('labels');
    if (name in labels) throw wrong('a label twice');
    labels[name] = value.replaceAll(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char));
    rest = rest.slice(whole.length);
  }
  return labels;
}

/** Buckets only grow, the last is +Inf and equals the count. */
function checkHistogram(name: string, samples: Family['samples']): void {
  const last = new Map<string, { le: number; value: number }>();
  for (const { name: sample, labels: { le, ...labels }, value } of samples) {
    const series = JSON.stringify(labels);
    const before = last.get(series) ?? { le: -Infinity, value: 0 };
    if (sample.endsWith('_bucket')) {
      const bound = Number((le ?? '').replace('Inf', 'Infinity'));
      if (!(bound > before.le) || value < before.value) throw new Error(`${name}: buckets out of order`);
      last.set(series, { le: bound, value });
    } else if (sample.endsWith('_count') && (before.le !== Infinity || before.value !== value)) {
      throw new Error(`${name}: the count is not that of the bucket +Inf`);
    }
  }
}
