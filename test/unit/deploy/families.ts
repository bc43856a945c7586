// What an agent can export, as docs/metrics.md has it (which is made from the families themselves), and what the recording
// rules make of it: name and labels. What Prometheus adds by itself is on everything.

import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { namedIn } from './promql.js';

const ROOT = new URL('../../../', import.meta.url);
const OF_PROMETHEUS = ['job', 'instance'];
const OF_HISTOGRAMS = ['_bucket', '_sum', '_count'];
/** Of the agents’ scrapes, not of the agents. */
const UP = { pattern: /^up$/, labels: OF_PROMETHEUS };

interface Family {
  pattern: RegExp;
  labels: string[];
}

export interface Rule {
  record?: string;
  alert?: string;
  expr: string;
  for?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

export function rulesOf(file: string): Rule[] {
  const { groups } = parse(textOf(`deploy/prometheus/${file}`)) as { groups: { rules: Rule[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

export function textOf(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}

function exported(): Family[] {
  const rows = textOf('docs/metrics.md').matchAll(/^\| `(lezea_[^`]+)` \| (\w+) \| ([^|]*) \|/gm);
  return [...rows].map(([, name = '', type, labels = '']) => ({
    // `<x>` stands for a word that the kernel chooses.
    pattern: new RegExp(
      `^${name.replace(/<[a-z]+>/g, '\\w+')}${type === 'histogram' ? `(${OF_HISTOGRAMS.join('|')})` : ''}$`,
    ),
    labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label).concat(OF_PROMETHEUS),
  }));
}

const FAMILIES: Family[] = [...exported(), UP, ...recorded()];

function recorded(): Family[] {
  const sources = exported();
  return rulesOf('rules.yml').map(({ record = '', expr }) => ({
    pattern: new RegExp(`^${record}$`),
    labels: namedIn(expr).selectors.flatMap(
      ({ name }) => sources.find(({ pattern }) => pattern.test(name))?.labels ?? OF_PROMETHEUS.concat('run'),
    ),
  }));
}

/** What an expression names that nobody exports: families, labels that theirs do not have, functions unheard of. */
export function unknownIn(expression: string): string[] {
  const { selectors, grouping, functions } = namedIn(expression);
  const unknown = functions.filter((name) => !FUNCTIONS.has(name));
  const labels = new Set(OF_PROMETHEUS);
  for (const { name, labels: asked } of selectors) {
    const family = FAMILIES.find(({ pattern }) => pattern.test(name));
    if (!family) unknown.push(name);
    for (const label of family?.labels ?? []) labels.add(label);
    unknown.push(
      ...asked.filter((label) => family && !family.labels.includes(label)).map((l) => `${name}{${l}}`),
    );
  }
  // A scope’s label of a GPU has two names; `le` is what histograms are cut by.
  return [...unknown, ...grouping.filter((label) => !labels.has(label) && label !== 'le')];
}

const FUNCTIONS = new Set(
  'changes clamp_min count histogram_quantile increase max max_over_time min rate sum topk'.split(' '),
);
