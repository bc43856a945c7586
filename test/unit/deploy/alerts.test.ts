// deploy/prometheus: rules name only what agents export; every alert says what it must, is tested both ways, and has its
// section in docs/runbooks.md. That the expressions hold what they say, promtool tells (test/integration).

import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { deadLinksOf, missingOf } from '../docs/named-things.js';
import { rulesOf, textOf, unknownIn } from './families.js';

const alerts = rulesOf('alerts.yml');
const names = alerts.map(({ alert = '' }) => alert);
const recordings = rulesOf('rules.yml');

interface PromtoolCase {
  alert_rule_test?: { alertname: string; exp_alerts: unknown[] }[];
  promql_expr_test?: { expr: string; exp_samples: { labels: string; value: number }[] }[];
}

const cases = readdirSync(new URL('../../../deploy/prometheus/tests/', import.meta.url)).flatMap(
  (file) => (parse(textOf(`deploy/prometheus/tests/${file}`)) as { tests: PromtoolCase[] }).tests,
);
/** What is expected to fire, as labels. */
const firing = cases.flatMap(({ promql_expr_test = [] }) =>
  promql_expr_test
    .filter(({ expr }) => expr === 'ALERTS{alertstate="firing"}')
    .flatMap(({ exp_samples }) => exp_samples.map(({ labels }) => labels)),
);

describe('deploy/prometheus', () => {
  it('has alerts and recordings, each name once', () => {
    expect(names.length).toBeGreaterThan(30);
    expect(new Set(names).size).toBe(names.length);
    expect(recordings.length).toBeGreaterThan(5);
  });

  it.each(recordings.map(({ record, expr }) => [record, expr] as const))(
    '%s: is named level:metric:operations, of what agents export',
    (record, expr) => {
      expect(record).toMatch(/^instance(_[a-z]+)?:lezea_[a-z_]+:[a-z0-9_]+$/);
      expect(unknownIn(expr)).toEqual([]);
      const tested = cases.flatMap(({ promql_expr_test = [] }) => promql_expr_test.map(({ expr: of }) => of));
      expect(tested.filter((of) => of.startsWith(record ?? ''))).not.toEqual([]);
    },
  );

  it.each(alerts.map((alert) => [alert.alert ?? '', alert] as const))(
    '%s: says what it must, of what agents export, and is tested both ways',
    (name, { expr, labels, annotations = {} }) => {
      expect(unknownIn(expr)).toEqual([]);
      expect(['critical', 'warning', 'info']).toContain(labels?.severity);
      expect(Object.keys(annotations).sort()).toEqual(['description', 'runbook', 'summary']);
      expect(annotations.runbook).toBe(`docs/runbooks.md#${name.toLowerCase()}`);
      const silent = cases.flatMap(({ alert_rule_test = [] }) => alert_rule_test);
      expect(silent.filter((one) => one.alertname === name && one.exp_alerts.length === 0)).not.toEqual([]);
      const fired = firing.filter((series) => series.includes(`alertname="${name}"`));
      expect(fired).not.toEqual([]);
      // What its texts show is there when it fires.
      const shown = `${annotations.summary} ${annotations.description}`.matchAll(/\$labels\.(\w+)/g);
      for (const [, label] of shown) expect(fired[0]).toContain(`${label}="`);
    },
  );

  it('has a section of docs/runbooks.md for each alert, and no other', () => {
    const runbooks = textOf('docs/runbooks.md');
    const sections = [...runbooks.matchAll(/^### (\w+)$/gm)].map(([, title]) => title);
    expect(sections).toEqual(names);
    for (const text of runbooks.split(/^### /m).slice(1)) {
      expect(text).toMatch(/\*\*Means\.\*\*[\s\S]+\*\*Look\.\*\*[\s\S]+\*\*Mend\.\*\*/);
    }
  });
});

describe('docs/runbooks.md', () => {
  const runbooks = textOf('docs/runbooks.md');
  const code = [...runbooks.matchAll(/`([^`]+)`/g)].map(([, text = '']) => text.replaceAll('\n', ' '));

  it('asks Prometheus only for what is there', () => {
    const queries = code.filter((text) => /lezea_|\bup\b/.test(text));
    expect(queries.length).toBeGreaterThan(40);
    for (const query of queries) expect([query, unknownIn(query)]).toEqual([query, []]);
  });

  it('names commands and keys that are there, and links to what is there', () => {
    const keys = textOf('docs/configuration.md');
    const named = code.filter((text) => /^(?:[a-z_]+\.)+[a-z_]+$/.test(text) && !text.endsWith('.yml'));
    expect(named.length).toBeGreaterThan(5);
    for (const key of named) expect(keys).toContain(`\`${key}\``);
    const commands = code.filter((text) => text.startsWith('lezea-monitor '));
    expect(commands.length).toBeGreaterThan(10);
    expect(missingOf(commands.map((text) => text.split(' ').slice(0, 2).join(' ')))).toEqual([]);
    expect(deadLinksOf(runbooks)).toEqual([]);
  });
});

describe('what is looked for', () => {
  it.each([
    ['lezea_run_cpu_second_total', ['lezea_run_cpu_second_total']],
    ['rate(lezea_run_cpu_seconds_total{scope="x"}[5m])', ['lezea_run_cpu_seconds_total{scope}']],
    ['sum by (gpu) (lezea_run_info)', ['gpu']],
    ['avrage(up)', ['avrage']],
    ['lezea_agent_tick_duration_seconds', ['lezea_agent_tick_duration_seconds']],
    ['max(up) and on (job) lezea_agent_nvml_stuk offset 5m', ['lezea_agent_nvml_stuk']],
    ['node_load1 > 3', ['node_load1']],
  ])('is found: %s', (expression, unknown) => {
    expect(unknownIn(expression)).toEqual(unknown);
  });
});
