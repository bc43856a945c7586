// Panels and dashboards as Grafana (10 and later) reads them, from the few things that differ between ours. Pure.

const DATASOURCE = { type: 'prometheus', uid: '$datasource' };
const COLUMNS = 24;
const HEIGHT = 8;

/**
 * A panel. `queries`: [PromQL, legend] each. `unit`: Grafana's word for it. `width` of 24 columns; `stacked`: figures that
 * add up; `max`: where the axis ends; `mappings`: words for values; `shows`: what a stat has in large letters.
 */
export function panel(title, { type = 'timeseries', width = 8, ...rest }) {
  const { queries, description, unit, stacked, max, mappings, shows = 'auto' } = rest;
  return {
    width,
    height: type === 'stat' ? HEIGHT / 2 : HEIGHT,
    body: {
      type,
      title,
      description,
      datasource: DATASOURCE,
      fieldConfig: {
        defaults: {
          unit,
          min: 0,
          ...(max && { max }),
          ...(mappings && { mappings }),
          ...look(type, stacked),
        },
        overrides: [],
      },
      options: optionsOf(type, shows),
      targets: queries.map(([expr, legendFormat], i) => ({
        refId: String.fromCharCode(65 + i),
        datasource: DATASOURCE,
        expr,
        legendFormat,
        ...(type !== 'timeseries' && { instant: true }),
        ...(type === 'table' && { format: 'table' }),
      })),
    },
  };
}

function look(type, stacked) {
  if (type !== 'timeseries') return {};
  const stacking = { mode: stacked ? 'normal' : 'none', group: 'A' };
  return { custom: { drawStyle: 'line', fillOpacity: stacked ? 30 : 0, showPoints: 'never', stacking } };
}

function optionsOf(type, textMode) {
  if (type === 'timeseries') {
    const legend = { displayMode: 'table', placement: 'bottom', calcs: ['lastNotNull', 'max'] };
    return { legend, tooltip: { mode: 'multi', sort: 'desc' } };
  }
  if (type === 'table') return { showHeader: true };
  const reduceOptions = { calcs: ['lastNotNull'] };
  return type === 'stat' ? { reduceOptions, colorMode: 'none', textMode } : { reduceOptions };
}

/** Words for 0 and 1. */
export function words(zero, one) {
  return [{ type: 'value', options: { 0: { text: zero }, 1: { text: one } } }];
}

/** A variable that lists a label's values. */
export function variable(name, label, query, { several = false } = {}) {
  const all = several && {
    multi: true,
    includeAll: true,
    allValue: '.*',
    current: { text: 'All', value: '$__all' },
  };
  return {
    name,
    label,
    type: 'query',
    datasource: DATASOURCE,
    query,
    definition: query,
    refresh: 2,
    sort: 1,
    ...all,
  };
}

/** `rows`: {title: panels}. Places the panels from left to right. */
export function dashboard({ uid, title, description, variables, rows }) {
  const panels = [];
  const place = (body, gridPos) => panels.push({ id: panels.length + 1, ...body, gridPos });
  let y = 0;
  for (const [rowTitle, inRow] of Object.entries(rows)) {
    place({ type: 'row', title: rowTitle, collapsed: false, panels: [] }, { x: 0, y, w: COLUMNS, h: 1 });
    y += 1;
    let x = 0;
    let tallest = 0;
    for (const { width, height, body } of inRow) {
      if (x + width > COLUMNS) {
        y += tallest;
        [x, tallest] = [0, 0];
      }
      place(body, { x, y, w: width, h: height });
      x += width;
      tallest = Math.max(tallest, height);
    }
    y += tallest;
  }
  const datasource = {
    name: 'datasource',
    label: 'Prometheus',
    type: 'datasource',
    query: 'prometheus',
    refresh: 1,
  };
  return {
    uid,
    title,
    description,
    tags: ['lezea-monitor'],
    schemaVersion: 38,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: '',
    links: [
      {
        type: 'dashboards',
        title: 'lezea-monitor',
        tags: ['lezea-monitor'],
        asDropdown: true,
        keepTime: true,
      },
    ],
    annotations: { list: [] },
    templating: { list: [datasource, ...variables] },
    panels,
  };
}
