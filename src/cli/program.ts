// The table of commands and their options. Nothing here does anything: an action loads its command's module and runs it.

import { Command, InvalidArgumentError } from 'commander';
import type { EventShape } from '../files/event-shapes.js';
import { VERSION } from '../version.js';
import type { AgentOptions } from './commands/agent.js';
import type { EventsOptions } from './commands/events.js';
import type { InventoryOptions } from './commands/inventory.js';
import type { PreflightOptions } from './commands/preflight.js';
import type { RunOptions } from './commands/run.js';
import type { Io } from './io.js';
import { addOutbox } from './outbox/program.js';

/** Options of every command that reads. */
export interface ReadOptions {
  json?: boolean;
  socket?: string;
}

/** As src/files/event-shapes.ts has them; not loaded before they are asked for. */
const EVENT_SHAPE_NAMES: EventShape[] = ['lezea', 'rldk', 'spectramind'];

type Done = (status: number) => void;

export function buildProgram(io: Io, done: Done): Command {
  const program = new Command('lezea-monitor')
    .description('What every builder, tasker, network and layer of a training run really cost.')
    .version(VERSION)
    .enablePositionalOptions()
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text),
      writeErr: (text) => io.err(text),
      outputError: (text, write) => write(oneLine(text)),
    });
  addAgent(program, done);
  addRun(program, io, done);
  addReaders(program, io, done);
  addPreflight(program, io, done);
  addOutbox(program, io, done);
  addConfig(program, io, done);
  return program;
}

/** Commander's message without its prefix; a suggestion comes on the same line. */
function oneLine(text: string): string {
  return `lezea-monitor: ${text
    .replace(/^error: /, '')
    .trim()
    .replaceAll('\n', ' ')}\n`;
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

function addAgent(program: Command, done: Done): void {
  program
    .command('agent')
    .description('the daemon: samples, attributes, answers')
    .option('--config <file>', 'configuration file (YAML)')
    .option('--listen <host:port>', 'address of the HTTP server; port 0 takes a free one')
    .option('--web.config.file <file>', 'TLS and users of the HTTP server, as for Prometheus exporters')
    .option('--socket <path>', 'path of the agent socket')
    .option('--state-dir <dir>', 'folder of the database and the documents')
    .option('--log-level <level>', 'trace, debug, info, warn, error, fatal or silent')
    .option('--set <key=value>', 'any configuration key; may be repeated', collect)
    .action(async (options: AgentOptions) => {
      const { agentCommand } = await import('./commands/agent.js');
      done(await agentCommand(options));
    });
}

function addRun(program: Command, io: Io, done: Done): void {
  program
    .command('run')
    .description('runs any command as a run, without a change to its code')
    .argument('<command...>', 'the command and its arguments; `--` before it if they look like options')
    .option('--run-id <id>', 'id of the run; an id that is running is attached to')
    .option('--experiment <name>', 'what the run belongs to')
    .option('--name <name>', 'name of the run for people')
    .option('--scope <path>', 'scope that the command counts in, e.g. builder:b0/tasker:t1')
    .option('--tag <key=value>', 'a tag; may be repeated', collect)
    .option(
      '--limit <name=value>',
      'a limit (docs/limits.md), also name@scope=value, name@level=value, experiment.name=value; may be repeated',
      collect,
    )
    .option(
      '--on-limit <what>',
      'past a limit: tell; refuse to begin over a budget; terminate the command',
      oneOf('tell', 'refuse', 'terminate'),
    )
    .option('--limit-grace <seconds>', 'from SIGTERM to SIGKILL, with --on-limit terminate')
    .option('--summary <file>', 'writes the summary document to this file')
    .option('--metrics <file>', 'writes the figures as flat JSON, for DVC, to this file')
    .option('--hardware-usage <file>', 'writes shares of the node, in Pixelis’s shape, to this file')
    .option('--format <format>', 'of the summary file: json or yaml', oneOf('json', 'yaml'), 'json')
    .option('--create-mlflow-run', 'make an MLflow run at MLFLOW_TRACKING_URI for the totals')
    .option('--quiet', 'no table of totals at the end')
    .option('--socket <path>', 'socket of the agent')
    .passThroughOptions()
    .action(async (command: string[], options: RunOptions) => {
      const { runCommand } = await import('./commands/run.js');
      done(await runCommand(command, options, io));
    });
}

function oneOf(...choices: string[]): (value: string) => string {
  return (value) => {
    if (choices.includes(value)) return value;
    throw new InvalidArgumentError(`expected ${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`);
  };
}

function reader(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('--json', 'the documented JSON shape instead of a table')
    .option('--socket <path>', 'socket of the agent');
}

function addReaders(program: Command, io: Io, done: Done): void {
  reader(program, 'status', 'what is running now, on which node, and how the agent is').action(
    async (options: ReadOptions) => {
      const { statusCommand } = await import('./commands/status.js');
      done(await statusCommand(options, io));
    },
  );
  reader(program, 'runs', 'the known runs, newest first').action(async (options: ReadOptions) => {
    const { runsCommand } = await import('./commands/runs.js');
    done(await runsCommand(options, io));
  });
  reader(program, 'show', "one run's tree of totals")
    .argument('<run>', 'id of the run')
    .action(async (run: string, options: ReadOptions) => {
      const { showCommand } = await import('./commands/show.js');
      done(await showCommand(run, options, io));
    });
  reader(program, 'events', "a run's audit trail, one JSON object a line")
    .argument('<run>', 'id of the run')
    .option('--as <shape>', 'of another system: lezea, rldk or spectramind', oneOf(...EVENT_SHAPE_NAMES))
    .action(async (run: string, options: EventsOptions) => {
      const { eventsCommand } = await import('./commands/events.js');
      done(await eventsCommand(run, options, io));
    });
  reader(program, 'inventory', 'what this node is made of and what it runs, and its fingerprint')
    .argument('[environment...]', 'with --diff: two of: a file, a run, `live`')
    .option('--format <format>', 'json or yaml, instead of a table', oneOf('json', 'yaml'))
    .option('--diff', 'in what two environments differ; exit status 1 where hardware or software do')
    .action(async (names: string[], options: InventoryOptions) => {
      const { inventoryCommand } = await import('./commands/inventory.js');
      done(await inventoryCommand(names, options, io));
    });
  reader(program, 'doctor', 'probes every data source: what is missing, why, how to get it').action(
    async (options: ReadOptions) => {
      const { doctorCommand } = await import('./commands/doctor.js');
      done(await doctorCommand(options, io));
    },
  );
  reader(program, 'bugreport', 'what a maintainer needs to know, without secrets, on standard output').action(
    async (options: ReadOptions) => {
      const { bugreportCommand } = await import('./commands/bugreport.js');
      done(await bugreportCommand(options, io));
    },
  );
}

function addPreflight(program: Command, io: Io, done: Done): void {
  program
    .command('preflight')
    .description('checks whether this node has what a run needs; exit status 1 where it does not')
    .option('--min-gpus <n>', 'at least so many GPUs')
    .option('--min-gpu-memory-gb <gb>', 'each with so much memory, 10⁹ bytes')
    .option('--min-free-gpu-memory-gb <gb>', 'each with so much of it free')
    .option('--min-cuda-version <version>', 'CUDA version of the driver')
    .option('--min-driver-version <version>', 'version of the GPU driver')
    .option('--min-disk-free-gb <gb>', 'so much free space where this is started')
    .option('--require-python-package <name[>=version]>', 'is installed; may be repeated', collect)
    .option('--python <path>', 'absolute path of the Python that is asked for packages', '/usr/bin/python3')
    .option('--json', 'the documented JSON shape')
    .action(async (options: PreflightOptions) => {
      const { preflightCommand } = await import('./commands/preflight.js');
      done(await preflightCommand(options, io));
    });
}

function addConfig(program: Command, io: Io, done: Done): void {
  const config = program
    .command('config')
    .helpCommand(false)
    .description('checks or prints the configuration');
  config
    .command('check')
    .description('says what is wrong with a configuration')
    .argument('[file]', 'default: the file that the agent would read')
    .option('--json', 'the documented JSON shape')
    .action(async (file: string | undefined, options: { json?: boolean }) => {
      const { configCheckCommand } = await import('./commands/config.js');
      done(configCheckCommand(file, options, io));
    });
  config
    .command('print')
    .description('shows every value in force and where it comes from')
    .option('--config <file>', 'configuration file (YAML)')
    .option('--json', 'the documented JSON shape')
    .action(async (options: { config?: string; json?: boolean }) => {
      const { configPrintCommand } = await import('./commands/config.js');
      done(configPrintCommand(options, io));
    });
}
