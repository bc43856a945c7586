// Phases with a whole agent that is killed between them: they are the run, to the integer, and none that was answered for
// is lost.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadAddon } from '../../../src/native/addon.js';
import { COLUMN_LIST, type ColumnUnit, DECIMALS } from '../../../src/native/frame.js';
import { type Burner, startBurner } from '../support/burner.js';
import { Client } from '../support/ipc-bench.js';
import { MortalAgent } from '../support/mortal-agent.js';

const addon = loadAddon();
let agent: MortalAgent;

beforeEach(async () => {
  agent = await MortalAgent.start();
});

afterEach(() => agent.stop());

const now = () => Number(addon.monotonicNs());

interface Document {
  totals: Record<string, { value: number }>;
  phases: { name: string | null; started_at: string; ended_at?: string; totals: Record<string, number> }[];
}

async function summaryOf(run_id: string): Promise<Document> {
  const file = { run_id, file: 'resources/summary.json' };
  const { data } = (await agent.client.result('run.get', file)) as { data: string };
  return JSON.parse(Buffer.from(data, 'base64').toString());
}

/** Every column of the run and Σ over its phases, in whole native units. */
function check({ totals, phases }: Document): void {
  for (const { name, additive, unit } of COLUMN_LIST) {
    const total = totals[name]?.value;
    if (!additive || total === undefined) continue;
    const figures = phases.map((phase) => phase.totals[name] ?? 0);
    // Past 2^53 a JSON number is not the integer any more.
    if (unit === 'byte_ns') expect(sum(figures) / total, name).toBeCloseTo(1, 12);
    else expect(sum(figures.map((figure) => native(figure, unit))), name).toBe(native(total, unit));
  }
}

const sum = (figures: number[]) => figures.reduce((whole, figure) => whole + figure, 0);
const native = (figure: number, unit: ColumnUnit) => Math.round(figure * 10 ** DECIMALS[unit]);
const phase = (name: string) => agent.client.result('run.phase', { run_id: 'r', name });

async function bound(burner: Burner): Promise<void> {
  agent.own(burner.child);
  await agent.client.result('session.open', { run_id: 'r', pid: burner.child.pid, t_ns: now() });
}

it('are the run over two kills, also of a phase that was never answered', { timeout: 60_000 }, async () => {
  const [one, two] = [await startBurner(), await startBurner()];
  await agent.client.result('run.start', { run_id: 'r' });
  for (const burner of [one, two]) await bound(burner);
  const { session } = await agent.client.result('session.open', { run_id: 'r', t_ns: now() });
  agent.client.notify('scope.enter', { session, path: 'builder:b/tasker:across', t_ns: now() });
  await one.burn(100);
  await phase('load');
  const used = [await one.burn(200)];
  await phase('train');
  agent.client.notify('scope.enter', { session, path: 'builder:b/tasker:across/layer:inside', t_ns: now() });
  await agent.kill(); // answered, and no checkpoint came after it
  const whileDead = two.burn(300);
  await agent.start();
  used.push((await whileDead) + (await one.burn(100)));
  // Two processes at the same time; who names the current one changes nothing.
  const other = await Client.connect(agent.socket);
  await Promise.all([phase('eval'), other.result('run.phase', { run_id: 'r', name: 'eval' })]);
  other.close();
  check(await summaryOf('r'));
  used.push(await two.burn(200));
  agent.client.notify('run.phase', { run_id: 'r', name: 'eval' });
  await phase('train');
  used.push(await one.burn(100));
  agent.client.notify('run.phase', { run_id: 'r', name: 'unanswered' });
  await agent.kill();
  await agent.start();
  const { phases: found } = (await agent.client.result('run.get', { run_id: 'r' })) as unknown as Document;
  // Stored or not: one that was named is said again.
  expect(['train', 'unanswered']).toContain(found.at(-1)?.name);
  await phase('unanswered');
  used.push(await two.burn(100));
  await agent.client.result('run.end', { run_id: 'r', status: 'FINISHED', all: true });
  const document = await summaryOf('r');
  check(document);
  const named = document.phases.slice(1);
  expect(named.map(({ name }) => name)).toEqual(['load', 'train', 'eval', 'train', 'unanswered']);
  for (const [at, { name, started_at, ended_at, totals }] of named.entries()) {
    expect(named[at + 1]?.started_at ?? ended_at, `the end of ${name}`).toBe(ended_at);
    expect(ended_at && ended_at >= started_at).toBe(true);
    // The burners idle between; what else they do (messages) takes little.
    expect(totals.cpu_seconds, name ?? '').toBeGreaterThan((used[at] ?? 0) - 0.005);
    expect(totals.cpu_seconds, name ?? '').toBeLessThan((used[at] ?? 0) + 0.03);
  }
});
