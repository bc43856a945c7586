// The audit trail as LeZeA, rldk and SpectraMind would have written it.

import { expect, test } from 'vitest';
import { exceededText, type LimitState, type RunLimitName } from '../../../src/attribution/run-limits.js';
import { EVENT_SHAPES, type EventLine, type EventShape } from '../../../src/files/event-shapes.js';

const state = (limit: RunLimitName): LimitState => ({ limit, value: 1, state: 'exceeded' });

const at = { schema: 'lezea.events/v1', mono: 5, run_id: 'r-1', attempt: 2 } as const;
const LINES: EventLine[] = [
  { ...at, seq: 1, ts: '2026-11-21T10:00:00.000Z', event: 'run.started', data: { run_id: 'r-1', pid: 7 } },
  {
    ...at,
    seq: 2,
    ts: '2026-11-21T10:00:01.000Z',
    event: 'eval',
    data: { step: 30, value: 0.5, loss: 2, ts: 'mine', note: 'a' },
  },
  { ...at, seq: 3, ts: '2026-11-21T10:00:02.000Z', event: 'saved', data: { path: 'x.pt' } },
  {
    ...at,
    seq: 4,
    ts: '2026-11-21T10:00:03.000Z',
    event: 'run.ended',
    data: { status: 'FAILED', reason: 'exit code 3' },
  },
];

function shaped(shape: EventShape, lines = LINES): object[] {
  return lines.flatMap((line) => [...EVENT_SHAPES[shape](line, { experiment: 'exp' })]);
}

test('lezea', () => {
  const common = { exp_id: 'exp', run_id: 'r-1', attempt: 2 };
  expect(shaped('lezea')).toEqual([
    { ...common, ts: '2026-11-21T10:00:00.000Z', kind: 'run.started', seq: 1, pid: 7 },
    {
      ...common,
      ts: '2026-11-21T10:00:01.000Z',
      kind: 'eval',
      seq: 2,
      step: 30,
      value: 0.5,
      loss: 2,
      note: 'a',
    },
    { ...common, ts: '2026-11-21T10:00:02.000Z', kind: 'saved', seq: 3, path: 'x.pt' },
    {
      ...common,
      ts: '2026-11-21T10:00:03.000Z',
      kind: 'run.ended',
      seq: 4,
      status: 'FAILED',
      reason: 'exit code 3',
    },
  ]);
  const [line] = LINES;
  expect([...EVENT_SHAPES.lezea(line!, {})]).toMatchObject([{ exp_id: 'r-1' }]);
});

test('rldk', () => {
  const common = { run_id: 'r-1', tags: { attempt: 2 } };
  const meta = { seq: 2, ts: 'mine', note: 'a' };
  const time = '2026-11-21T10:00:01.000Z';
  expect(shaped('rldk')).toEqual([
    {
      ...common,
      name: 'run.started/pid',
      value: 7,
      time: '2026-11-21T10:00:00.000Z',
      meta: { seq: 1, run_id: 'r-1' },
    },
    { ...common, name: 'eval', value: 0.5, step: 30, time, meta },
    { ...common, name: 'eval/loss', value: 2, step: 30, time, meta },
    { ...common, name: 'saved', value: 1, time: '2026-11-21T10:00:02.000Z', meta: { seq: 3, path: 'x.pt' } },
    {
      ...common,
      name: 'run.ended',
      value: 1,
      time: '2026-11-21T10:00:03.000Z',
      meta: { seq: 4, status: 'FAILED', reason: 'exit code 3' },
    },
  ]);
});

/** The agent's own, as it writes them. */
const OWN: EventLine[] = [
  { ...at, seq: 1, ts: '2026-11-21T10:00:00.000Z', event: 'phase.began', data: { name: 'train' } },
  {
    ...at,
    seq: 2,
    ts: '2026-11-21T10:00:01.000Z',
    event: 'limit_warning',
    data: { limit: 'steps', scope: 'tasker:t', value: 10, used: 8, remaining: 2, ratio: 0.8 },
  },
  {
    ...at,
    seq: 3,
    ts: '2026-11-21T10:00:02.000Z',
    event: 'limit_exceeded',
    data: { limit: 'core_hours', experiment: 'exp', value: 1, used: 1.5, remaining: 0, ratio: 1.5 },
  },
  {
    ...at,
    seq: 4,
    ts: '2026-11-21T10:00:03.000Z',
    event: 'limit_signalled',
    data: { signal: 'SIGTERM', reason: 'limit core_hours of 1 exceeded', pids: [100, 101] },
  },
];

test('what the agent says of phases and limits: lezea', () => {
  const common = { exp_id: 'exp', run_id: 'r-1', attempt: 2 };
  const kinds = ['phase.began', 'limit_warning', 'limit_exceeded', 'limit_signalled'];
  expect(shaped('lezea', OWN)).toEqual(
    OWN.map(({ ts, seq, data }, i) => ({ ...common, ts, seq, kind: kinds[i], ...data })),
  );
});

test('what the agent says of phases and limits: rldk', () => {
  const metrics = shaped('rldk', OWN) as { name: string; value: number; meta: object }[];
  const steps = { seq: 2, limit: 'steps', scope: 'tasker:t' };
  const hours = { seq: 3, limit: 'core_hours', experiment: 'exp' };
  const signalled = { seq: 4, ...OWN[3]!.data };
  expect(metrics.map(({ name, value, meta }) => [name, value, meta])).toEqual([
    ['phase.began', 1, { seq: 1, name: 'train' }],
    ['limit_warning', 10, steps],
    ['limit_warning/used', 8, steps],
    ['limit_warning/remaining', 2, steps],
    ['limit_warning/ratio', 0.8, steps],
    ['limit_exceeded', 1, hours],
    ['limit_exceeded/used', 1.5, hours],
    ['limit_exceeded/remaining', 0, hours],
    ['limit_exceeded/ratio', 1.5, hours],
    ['limit_signalled', 1, signalled],
  ]);
});

test('what the agent says of phases and limits: spectramind has no word for', () => {
  expect(shaped('spectramind', OWN)).toEqual([]);
});

test('spectramind: how it began and ended, nothing else', () => {
  const common = { run_dir: 'r-1/2', id: 'r-1' };
  expect(shaped('spectramind')).toEqual([
    { ...common, ts: '2026-11-21T10:00:00.000Z', event: 'start' },
    { ...common, ts: '2026-11-21T10:00:03.000Z', event: 'error', rc: 3 },
  ]);
});

test.each([
  [{ status: 'FINISHED' }, { event: 'done', rc: 0 }],
  [{ status: 'FAILED', reason: 'ValueError: no more data' }, { event: 'exception' }],
  [{ status: 'INTERRUPTED', reason: 'KeyboardInterrupt' }, { event: 'exception' }],
  [
    { status: 'KILLED', reason: 'ended by signal 9 (SIGKILL)' },
    { event: 'error', rc: 137 },
  ],
  [{ status: 'LOST', reason: 'the machine was rebooted' }, { event: 'error' }],
  [
    { status: 'KILLED', reason: 'limit runtime_seconds of 60 exceeded: ended by signal 9 (SIGKILL)' },
    { event: 'timeout' },
  ],
  [
    { status: 'INTERRUPTED', reason: `${exceededText(state('runtime_seconds'))}: KeyboardInterrupt` },
    { event: 'timeout' },
  ],
  [
    { status: 'KILLED', reason: `${exceededText(state('core_hours'))}: ended by signal 15 (SIGTERM)` },
    { event: 'error', rc: 143 },
  ],
  [{ status: 'INTERRUPTED', reason: exceededText(state('core_hours')) }, { event: 'error' }],
])('spectramind: %j', (data, end) => {
  const [line] = shaped('spectramind', [{ ...LINES[3]!, data }]);
  expect(line).toEqual({ ts: '2026-11-21T10:00:03.000Z', run_dir: 'r-1/2', id: 'r-1', ...end });
});
