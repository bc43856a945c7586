// deploy/grafana: the dashboards are what scripts/dashboards makes, ask only for what agents export, and have what a reader
// needs. That each query has figures in a real Prometheus is test/truth/deploy.py's to say.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { textOf, unknownIn } from './families.js';
import { namedIn } from './promql.js';

interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: { uid: string };
  fieldConfig?: { defaults: { unit?: string } };
  targets?: { refId: string; expr: string; legendFormat: string; datasource: { uid: string } }[];
}

interface Dashboard {
  uid: string;
  title: string;
  schemaVersion: number;
  templating: { list: { name: string; type: string; query: string }[] };
  panels: Panel[];
}

const NAMES = ['lezea-node', 'lezea-run', 'lezea-agent'];
const dashboards = NAMES.map((name) => JSON.parse(textOf(`deploy/grafana/${name}.json`)) as Dashboard);
const LABEL_VALUES = /^label_values\((.*), (\w+)\)$/;

/** Prometheus's rules that a dashboard's own words stand for. */
const GRAFANAS = /\$__(?:rate_interval|range)\b/g;

const exprsOf = ({ panels }: Dashboard) =>
  panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

function overlapping(a: Panel['gridPos'], b: Panel['gridPos']): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

it('are what scripts/dashboards makes', () => {
  const script = fileURLToPath(new URL('../../../scripts/generate-dashboards.mjs', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
});

describe.each(dashboards.map((each) => [each.uid, each] as const))('%s', (uid, dashboard) => {
  const { panels, templating } = dashboard;
  const shown = panels.filter(({ type }) => type !== 'row');

  it('is one that Grafana 10 imports', () => {
    expect(NAMES).toContain(uid);
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(38);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const [i, { gridPos }] of panels.entries()) {
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
      const under = panels.slice(i + 1).filter((other) => overlapping(gridPos, other.gridPos));
      expect(under.map(({ title }) => title)).toEqual([]);
    }
  });

  it('has panels with a title, a description, a unit and queries of the chosen Prometheus', () => {
    expect(shown.length).toBeGreaterThan(15);
    expect(new Set(shown.map(({ title }) => title)).size).toBe(shown.length);
    for (const { title, description = '', fieldConfig, targets = [], datasource } of shown) {
      expect(title).not.toBe('');
      expect([title, description]).toEqual([title, expect.stringMatching(/\.$/)]);
      expect([title, fieldConfig?.defaults.unit]).toEqual([title, expect.stringMatching(/^\w+$/)]);
      expect(targets).not.toEqual([]);
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
      for (const { uid: of } of [datasource, ...targets.map((target) => target.datasource)].map((d) => d!)) {
        expect(of).toBe('$datasource');
      }
    }
  });

  it('uses each of its variables, and no other', () => {
    const queries = templating.list.map(({ query }) => query);
    const used = [...exprsOf(dashboard), ...queries].flatMap((text) =>
      [...text.replace(GRAFANAS, '').matchAll(/\$(\w+)/g)].map(([, name = '']) => name),
    );
    const names = templating.list.map(({ name }) => name);
    expect(names[0]).toBe('datasource');
    expect([...new Set(['datasource', ...used])].sort()).toEqual([...names].sort());
  });

  it('asks only for what agents export', () => {
    for (const expr of exprsOf(dashboard)) expect([expr, unknownIn(expr)]).toEqual([expr, []]);
    for (const { type, query } of templating.list) {
      if (type === 'datasource') continue;
      const [, of = '', label = ''] = LABEL_VALUES.exec(query) ?? [];
      expect([query, unknownIn(`sum by (${label}) (${of})`)]).toEqual([query, []]);
    }
  });

  it('names its lines by labels that are there', () => {
    for (const { expr, legendFormat } of shown.flatMap(({ targets = [] }) => targets)) {
      const labels = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label);
      expect(legendFormat).not.toBe('');
      // An aggregation keeps what it groups by; anything else what the families have.
      const { grouping, functions } = namedIn(expr);
      const aggregated = ['sum', 'min', 'max'].some((name) => functions.includes(name));
      const unknown = aggregated
        ? labels.filter((label) => !grouping.includes(label))
        : unknownIn(`sum by (${labels.join(', ')}) (${expr})`);
      expect([expr, unknown]).toEqual([expr, []]);
    }
  });
});

it('are found by Grafana where the example of provisioning says', () => {
  const { providers } = parse(textOf('deploy/grafana/provisioning/dashboards.yml')) as {
    providers: { type: string; options: { path: string } }[];
  };
  expect(providers.map(({ type }) => type)).toEqual(['file']);
  const readme = textOf('deploy/README.md');
  for (const { options } of providers) expect(readme).toContain(options.path);
  for (const name of NAMES) expect(readme).toContain(`${name}.json`);
  const sources = parse(textOf('deploy/grafana/provisioning/datasources.yml')) as {
    datasources: { type: string }[];
  };
  expect(sources.datasources.map(({ type }) => type)).toEqual(['prometheus']);
});
