// Every document of a real run against the JSON Schemas as they are published, by a validator that has nothing to do with
// what they are made from: while the run goes on, after a kill of the agent, and when it has ended.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type ErrorObject, Ajv2020 as Validator } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { mergedText, mergeSummaries } from '../../../src/files/merged-summary.js';
import { readNodeSummary } from '../../../src/files/node-summary.js';
import {
  CONSTRAINTS_FILE,
  COST_FILE,
  ENVIRONMENT_FILE,
  EVENTS_FILE,
  HARDWARE_USAGE_FILE,
  METRICS_FILE,
  SUMMARY_FILE,
} from '../../../src/files/run-files.js';
import { AgentProcess } from '../support/agent-process.js';
import { temporaryFolder } from '../support/bench.js';
import { Client } from '../support/ipc-bench.js';

const REPOSITORY = join(import.meta.dirname, '../../..');
/** The published schema of each document; of events.jsonl, of a line. */
const SCHEMAS: Record<string, string> = {
  [SUMMARY_FILE]: 'summary',
  [ENVIRONMENT_FILE]: 'environment',
  [CONSTRAINTS_FILE]: 'constraints',
  [COST_FILE]: 'cost',
  [METRICS_FILE]: 'metrics',
  [HARDWARE_USAGE_FILE]: 'hardware-usage',
  [EVENTS_FILE]: 'events',
};

// Formats are annotations in this draft; times have a pattern beside theirs.
const validator = new Validator({
  allErrors: true,
  validateFormats: false,
  strict: true,
  allowUnionTypes: true,
});
const published = Object.fromEntries(
  Object.entries(SCHEMAS).map(([file, name]) => {
    const text = readFileSync(join(REPOSITORY, `docs/schemas/${name}.json`), 'utf8');
    return [file, validator.compile(JSON.parse(text))];
  }),
);

/** What the published schema has against a document. */
function faults(file: string, document: unknown): ErrorObject[] {
  const validate = published[file];
  if (!validate) throw new Error(`no schema is published for ${file}`);
  return validate(document) ? [] : [...(validate.errors ?? [])];
}

/** Everything that a run can have: nested scopes, phases, facts, limits, a budget, progress, a child that is killed. */
const PROGRAM = `
import os, signal, sys, time
import lezea_monitor as lm

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

limits = {"core_hours": 0.2 / 3600, "runtime_seconds": 3600, "cost": 1, "gpu_hours": 1, "memory_bytes": 1,
          "levels": {"tasker": {"steps": 10}}, "scopes": {"builder:b0/tasker:t0": {"episodes": 100}},
          "experiment": {"core_hours": 100}}
run = lm.start_run("e", run_id="r", name="n", tags={"a": "b"}, limits=limits, capture_level="complete")
run.facts(dataset_version="v1", seeds=[1, 2], config_sha256="0" * 64, hyperparameters={"lr": 0.1}, tags={"c": "d"})
run.phase("load")
with run.builder("b0"):
    with run.tasker("t0"):
        burn(0.1)
        run.progress(steps=10, episodes=1)
        run.phase("train")
        with run.network("policy é/1"), run.scope("any", 3):
            burn(0.2)
run.event("checkpoint", step=3, loss=0.5, where={"path": ["a", None, True]})
def child(forever):
    pid = os.fork()
    if pid == 0:
        burn(0.05)
        while forever:
            time.sleep(1)
        os._exit(3)
    return pid
os.waitpid(child(False), 0)
killed = child(True)
os.kill(killed, signal.SIGKILL)
os.waitpid(killed, 0)
run.usage(fresh=True)
for line in sys.stdin:
    burn(0.1)
    run.phase(line.strip())
    print("done", flush=True)
run.end()
`;

let folder: ReturnType<typeof temporaryFolder>;
let agent: AgentProcess;
let client: Client;
let program: ChildProcess;
/** Of the ended run, and of the running one before and after a kill of the agent. */
const documents: Record<'running' | 'restarted' | 'ended', Map<string, unknown[]>> = {
  running: new Map(),
  restarted: new Map(),
  ended: new Map(),
};

async function startAgent(currency: string): Promise<void> {
  const args = [
    '--set',
    `cost.currency=${currency}`,
    '--set',
    'cost.cpu_per_core_hour=36',
    '--set',
    'cost.ram_per_gb_hour=1',
  ];
  agent = new AgentProcess(folder.path, { args });
  await agent.ready();
  client = await Client.connect(agent.socket);
}

async function readAll(into: Map<string, unknown[]>): Promise<void> {
  const { files } = (await client.result('run.get', { run_id: 'r' })) as { files: string[] };
  for (const file of files) {
    const pieces: Buffer[] = [];
    for (let offset = 0, eof = false; !eof; ) {
      const piece = (await client.result('run.get', { run_id: 'r', file, offset })) as {
        data: string;
        eof: boolean;
      };
      pieces.push(Buffer.from(piece.data, 'base64'));
      offset += pieces.at(-1)?.length ?? 0;
      eof = piece.eof;
    }
    const text = Buffer.concat(pieces).toString();
    const parts = file === EVENTS_FILE ? text.trimEnd().split('\n') : [text];
    into.set(
      file,
      parts.map((part) => JSON.parse(part)),
    );
  }
}

beforeAll(async () => {
  folder = temporaryFolder();
  await startAgent('EUR');
  const { LEZEA_RUN_ID: _run, ...env } = process.env;
  program = spawn('python3', ['-c', PROGRAM], {
    stdio: ['pipe', 'pipe', 'inherit'],
    cwd: REPOSITORY,
    env: { ...env, PYTHONPATH: join(REPOSITORY, 'python'), LEZEA_MONITOR_SOCKET: agent.socket },
  });
  if (!program.stdin || !program.stdout) throw new Error('no pipes');
  const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
  const next = (phase: string) => {
    program.stdin?.write(`${phase}\n`);
    return lines.next();
  };
  await next('eval');
  await readAll(documents.running);
  agent.child.kill('SIGKILL');
  await agent.exit;
  client.close();
  await startAgent('USD'); // another price from now on
  await next('save');
  await readAll(documents.restarted);
  program.stdin.end();
  await once(program, 'exit');
  const isOver = async () => {
    expect(await client.result('run.get', { run_id: 'r' })).toMatchObject({ status: 'FINISHED' });
  };
  await vi.waitFor(isOver, { timeout: 20_000 });
  await readAll(documents.ended);
}, 120_000);

afterAll(async () => {
  client.close();
  program.kill('SIGKILL');
  agent.child.kill('SIGKILL');
  await agent.exit;
  folder.remove();
});

describe('what a run leaves', () => {
  it('is every kind of document, with everything in it', () => {
    expect([...documents.ended.keys()].sort()).toEqual(Object.keys(SCHEMAS).sort());
    const [summary] = documents.ended.get(SUMMARY_FILE) as [Record<string, never>];
    expect(Object.keys(summary)).toEqual(
      expect.arrayContaining(['environment', 'phases', 'limits', 'scopes', 'processes']),
    );
    const events = (documents.ended.get(EVENTS_FILE) as { event: string }[]).map(({ event }) => event);
    expect(events).toEqual(
      expect.arrayContaining([
        'checkpoint',
        'limit_warning',
        'limit_exceeded',
        'phase.began',
        'agent.restarted',
      ]),
    );
    expect(JSON.stringify(summary.processes)).toMatch(/"exit":\{"signal":9/);
  });

  it.each(Object.keys(SCHEMAS))('%s is as published', (file) => {
    for (const document of documents.ended.get(file) ?? []) expect(faults(file, document)).toEqual([]);
  });

  it.each(['running', 'restarted'] as const)('is as published of a %s run too', (when) => {
    expect([...documents[when].keys()]).toEqual([SUMMARY_FILE, COST_FILE, EVENTS_FILE]);
    for (const [file, parts] of documents[when]) {
      for (const document of parts) expect(faults(file, document), file).toEqual([]);
    }
  });

  it('is as published where two nodes are merged', () => {
    const [summary] = structuredClone(documents.ended.get(SUMMARY_FILE)) as [
      { node: Record<string, string> },
    ];
    const texts = ['one', 'two'].map((name) => {
      Object.assign(summary.node, { name, boot_id: name });
      return Buffer.from(JSON.stringify(summary));
    });
    const nodes = texts.flatMap((text) => readNodeSummary(text, 'r') ?? []);
    expect(nodes).toHaveLength(2);
    const merged = JSON.parse(mergedText(mergeSummaries(nodes)));
    expect(faults(SUMMARY_FILE, merged)).toEqual([]);
    delete merged.hosts;
    expect(faults(SUMMARY_FILE, merged)).not.toEqual([]);
  });
});

// biome-ignore lint/suspicious/noExplicitAny: documents are spoilt wherever it is.
type Any = any;

const SPOILT: [file: string, what: string, spoil: (document: Any) => void][] = [
  ...Object.keys(SCHEMAS).map((file): [string, string, (document: Any) => void] => [
    file,
    'has a key that is not published',
    (document) => Object.assign(document, { another: 1 }),
  ]),
  [
    SUMMARY_FILE,
    'has an unknown column',
    ({ totals }) => Object.assign(totals, { gpu_joy: totals.cpu_seconds }),
  ],
  [
    SUMMARY_FILE,
    'has an unknown column of a scope',
    ({ scopes }) => Object.assign(scopes[0].self, { gpu_joy: 1 }),
  ],
  [
    SUMMARY_FILE,
    'has an unknown column of a phase',
    ({ phases }) => Object.assign(phases[0].totals, { gpu_joy: 1 }),
  ],
  [SUMMARY_FILE, 'lacks its conservation', (document) => delete document.conservation],
  [SUMMARY_FILE, 'does not say how a figure was got', ({ totals }) => delete totals.cpu_seconds.method],
  [
    SUMMARY_FILE,
    'says a figure that is not known',
    ({ totals }) => Object.assign(totals.cpu_seconds, { value: null }),
  ],
  [SUMMARY_FILE, 'has a process without a pid', ({ processes }) => delete processes[0].pid],
  [SUMMARY_FILE, 'has a status that is none', ({ run }) => Object.assign(run, { status: 'DONE' })],
  [
    SUMMARY_FILE,
    'is of another version',
    (document) => Object.assign(document, { schema: 'lezea.resources/v2' }),
  ],
  [SUMMARY_FILE, 'has a time that is none', ({ run }) => Object.assign(run, { started_at: 'yesterday' })],
  [EVENTS_FILE, 'lacks its sequence number', (line) => delete line.seq],
  [
    CONSTRAINTS_FILE,
    'has an outcome that is none',
    (document) => Object.assign(document.constraints[0], { outcome: 1 }),
  ],
  [ENVIRONMENT_FILE, 'lacks its fingerprint', (document) => delete document.fingerprint],
  [COST_FILE, 'lacks its rates', (document) => delete document.rates_usd],
  [COST_FILE, 'has a price of nothing known', ({ rates_usd }) => Object.assign(rates_usd, { joy_usd: 1 })],
];

describe('the published schemas refuse a document that', () => {
  it.each(SPOILT)('%s %s', (file, _what, spoil) => {
    const [document] = structuredClone(documents.ended.get(file)) as [Any];
    expect(faults(file, document)).toEqual([]);
    spoil(document);
    expect(faults(file, document)).not.toEqual([]);
  });
});
