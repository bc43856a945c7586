// A strict little reader of both exposition formats, written from their specifications and not from our encoder: it is
// what the tests trust.

export interface Sample {
  name: string;
  labels: Record<string, string>;
  /** As written: exactness is what is tested. */
  value: string;
}

export interface ParsedExposition {
  samples: Sample[];
  types: Map<string, string>;
  units: Map<string, string>;
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/s;
const VALUE = /^(?:[+-]?Inf|NaN|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/;

const SUFFIXES: Record<string, string[]> = {
  counter: ['_total', '_created'],
  info: ['_info'],
  histogram: ['_bucket', '_sum', '_count', '_created'],
  gauge: [''],
  unknown: [''],
};

/** Throws on anything a scraper would refuse, and on families that are declared twice or torn apart. */
export function parseExposition(text: string, format: 'text' | 'openmetrics'): ParsedExposition {
  if (text === '' && format === 'text') return { samples: [], types: new Map(), units: new Map() };
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const lines = text.slice(0, -1).split('\n');
  if (format === 'openmetrics' && lines.pop() !== '# EOF') throw new Error('no # EOF at the end');
  const parsed: ParsedExposition = { samples: [], types: new Map(), units: new Map() };
  const seen = new Set<string>();
  let family = '';
  for (const line of lines) {
    if (line.startsWith('#')) family = readComment(line, parsed, format);
    else readSample(line, { parsed, seen, family, format });
  }
  return parsed;
}

function readComment(line: string, parsed: ParsedExposition, format: string): string {
  const match = /^# (HELP|TYPE|UNIT) (\S+) (.*)$/.exec(line);
  if (match === null) throw new Error(`comment: ${line}`);
  const [, kind, name = '', rest = ''] = match;
  if (kind === 'TYPE') {
    if (parsed.types.has(name)) throw new Error(`declared twice: ${name}`);
    parsed.types.set(name, rest);
  }
  if (kind === 'UNIT') {
    if (format === 'text' || !name.endsWith(`_${rest}`)) throw new Error(`unit: ${line}`);
    parsed.units.set(name, rest);
  }
  return name;
}

function readSample(
  line: string,
  state: { parsed: ParsedExposition; seen: Set<string>; family: string; format: string },
): void {
  const match = SAMPLE.exec(line);
  if (match === null) throw new Error(`sample: ${line}`);
  const [, name = '', labelText = '', value = ''] = match;
  if (!VALUE.test(value)) throw new Error(`value: ${line}`);
  const type = state.parsed.types.get(state.family);
  const suffixes =
    state.format === 'openmetrics' ? (SUFFIXES[type ?? ''] ?? []) : ['', '_bucket', '_sum', '_count'];
  if (!suffixes.some((suffix) => name === state.family + suffix)) {
    throw new Error(`${name} does not belong to ${type} ${state.family}`);
  }
  const labels = readLabels(labelText);
  const identity = name + JSON.stringify(Object.entries(labels).sort());
  if (state.seen.has(identity)) throw new Error(`twice: ${line}`);
  state.seen.add(identity);
  state.parsed.samples.push({ name, labels, value });
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== '') {
    const match = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/.exec(rest);
    if (match === null) throw new Error(`labels: ${rest}`);
    const [whole, name = '', value = ''] = match;
    if (name in labels) throw new Error(`label twice: ${name}`);
    labels[name] = value.replace(/\\(["\\n])/g, (_, c: string) => (c === 'n' ? '\n' : c));
    rest = rest.slice(whole.length);
  }
  return labels;
}
