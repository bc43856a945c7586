// The command line as data, read off the program's own table of commands: what man pages and completions are made of.
import { join } from 'node:path';

const NOWHERE = { out: () => undefined, err: () => undefined };

/**
 * Of a built program's folder: `{name, usage, description, options, operands, commands}`. An option has `flags`
 * (`--socket <path>`), `long`, `argument` (`path`; none: a switch) and `description`; an operand `name` and
 * `description`.
 */
export async function commandTree(program) {
  const { buildProgram } = await import(join(program, 'dist', 'cli', 'program.js'));
  return describe(
    buildProgram(NOWHERE, () => undefined),
    '',
  );
}

function describe(command, above) {
  const name = `${above}${command.name()}`;
  const help = command.createHelp();
  return {
    name,
    usage: command.usage(),
    description: command.description(),
    options: help.visibleOptions(command).map((option) => ({
      flags: option.flags,
      long: option.long,
      argument: /<(.+)>/.exec(option.flags)?.[1],
      description: option.description,
    })),
    operands: command.registeredArguments.map((operand) => ({
      name: operand.name(),
      description: operand.description,
      variadic: operand.variadic,
    })),
    commands: help.visibleCommands(command).map((child) => describe(child, `${name} `)),
  };
}

/** Every command below one, depth first. */
export function allCommands(tree) {
  return tree.commands.flatMap((command) => [command, ...allCommands(command)]);
}
