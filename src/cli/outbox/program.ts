// The table of the `outbox` commands and their options. Nothing here does anything: an action loads its command's module.

import type { Command } from 'commander';
import type { Io } from '../io.js';
import type { ReadOptions } from '../program.js';

type Done = (status: number) => void;

export interface ListOptions extends ReadOptions {
  all?: boolean;
  run?: string;
}

export function addOutbox(program: Command, io: Io, done: Done): void {
  const outbox = program
    .command('outbox')
    .helpCommand(false)
    .description('what is still to be delivered of ended runs');
  addLooking(outbox, io, done);
  addCarrying(outbox, io, done);
}

function command(outbox: Command, name: string, description: string): Command {
  return outbox
    .command(name)
    .description(description)
    .option('--json', 'the documented JSON shape')
    .option('--socket <path>', 'socket of the agent');
}

function addLooking(outbox: Command, io: Io, done: Done): void {
  command(outbox, 'ls', 'deliveries, newest first, and how the places do that they go to')
    .option('--all', 'also what was delivered')
    .option('--run <run>', 'of one run only')
    .action(async (options: ListOptions) => {
      const { listCommand } = await import('./list.js');
      done(await listCommand(options, io));
    });
  command(outbox, 'show', 'one delivery and what is left of it')
    .argument('<id>', 'of the delivery')
    .option('--item <item>', 'prints what this item says')
    .action(async (id: string, options: ReadOptions & { item?: string }) => {
      const { showCommand } = await import('./show.js');
      done(await showCommand(id, options, io));
    });
  command(outbox, 'retry', 'tries deliveries again, now, with what was kept aside of them')
    .argument('[ids...]', 'of the deliveries')
    .option('--all', 'everything that is undelivered')
    .action(async (ids: string[], options: ReadOptions & { all?: boolean }) => {
      const { retryCommand } = await import('./retry.js');
      done(await retryCommand(ids, options, io));
    });
}

function addCarrying(outbox: Command, io: Io, done: Done): void {
  command(
    outbox,
    'export',
    'writes what is undelivered to a bundle that another agent imports; delivers and removes nothing',
  )
    .argument('<file>', 'of the bundle; `-` is standard output')
    .argument('[ids...]', 'deliveries; default: all that is undelivered')
    .option('--run <run>', 'of one run only')
    .action(async (file: string, ids: string[], options: ReadOptions & { run?: string }) => {
      const { exportCommand } = await import('./export.js');
      done(await exportCommand(file, ids, options, io));
    });
  command(outbox, 'import', 'gives a bundle to the agent: all of it or, where a byte is wrong, nothing')
    .argument('<file>', 'that outbox export wrote')
    .action(async (file: string, options: ReadOptions) => {
      const { importCommand } = await import('./import.js');
      done(await importCommand(file, options, io));
    });
  command(
    outbox,
    'fsck',
    'whether every item and document that is undelivered is whole; changes nothing',
  ).action(async (options: ReadOptions) => {
    const { fsckCommand } = await import('./fsck.js');
    done(await fsckCommand(options, io));
  });
}
