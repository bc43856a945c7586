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
