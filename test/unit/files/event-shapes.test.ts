// The audit trail as LeZeA, rldk and SpectraMind would have written it.

import { expect, test } from 'vitest';
import { EVENT_SHAPES, type EventLine, type EventShape } from '../../../src/files/event-shapes.js';

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
])('spectramind: %j', (data, end) => {
  const [line] = shaped('spectramind', [{ ...LINES[3]!, data }]);
  expect(line).toEqual({ ts: '2026-11-21T10:00:03.000Z', run_dir: 'r-1/2', id: 'r-1', ...end });
});
