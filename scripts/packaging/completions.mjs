// Completion of the command line for bash and zsh, made from the table of commands. Files are offered where an option
// or an operand is one, commands after `run`; ids of runs are not, for that would ask the agent at every key.
import { allCommands } from './command-tree.mjs';

const PATHS = new Set(['file', 'path', 'dir']);
/** Its path is one of scopes. */
const isFile = ({ long, argument }) => PATHS.has(argument) && long !== '--scope';
const NAME = 'lezea-monitor';

export function bashCompletion(tree) {
  const levels = [tree, ...allCommands(tree)];
  const arms = (pick) =>
    levels
      .map((level) => [level.name, pick(level)])
      .filter(([, words]) => words !== '')
      .map(([name, words]) => `    '${name}') offered='${words}' ;;`)
      .join('\n');
  const taking = (wanted) =>
    [...new Set(levels.flatMap(({ options }) => options.filter(wanted).map(({ long }) => long)))]
      .sort()
      .join('|');
  return `# bash completion for ${NAME}; generated from its commands.

_lezea_monitor() {
  local cur prev words cword command='${NAME}' word at
  _init_completion || return
  for ((at = 1; at < cword; at++)); do
    word=\${words[at]}
    case "$command $word" in
      ${allCommands(tree)
        .map(({ name }) => `'${name}'`)
        .join(' | ')}) command+=" $word" ;;
      '${NAME} run '[!-]*)
        # An option's value is no command yet.
        [[ \${words[at - 1]} == @(${taking(({ argument }) => argument !== undefined)}) ]] && continue
        _command_offset "$at"
        return
        ;;
    esac
  done
  case $prev in
    ${taking(isFile)})
      _filedir
      return
      ;;
    ${taking((option) => option.argument !== undefined && !isFile(option))}) return ;;
  esac
  local offered=''
  case $command in
${arms(({ options, commands }) =>
  [...commands.map(({ name }) => name.split(' ').at(-1)), ...options.map(({ long }) => long)].join(' '),
)}
  esac
  mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$cur")
  case $command in
    ${allCommands(tree)
      .filter(takesFiles)
      .map(({ name }) => `'${name}'`)
      .join(' | ')}) [[ $cur == -* ]] || _filedir ;;
    '${NAME} run') [[ $cur == -* ]] || mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
  esac
} &&
  complete -F _lezea_monitor ${NAME}
`;
}

function takesFiles({ operands }) {
  return operands.some(({ name }) => PATHS.has(name) || name === 'environment');
}

export function zshCompletion(tree) {
  const functions = [tree, ...allCommands(tree)].map(zshFunction);
  return `#compdef ${NAME}
# zsh completion for ${NAME}; generated from its commands.

${functions.join('\n')}
${functionName(tree.name)} "$@"
`;
}

function zshFunction({ name, options, operands, commands }) {
  const specs = options.map((option) => {
    const { long, argument, description } = option;
    const repeated = /may be repeated/.test(description) ? '*' : '';
    const value = argument === undefined ? '' : `:${zshText(argument)}:${isFile(option) ? '_files' : ' '}`;
    return `'${repeated}${long}[${zshText(description)}]${value}'`;
  });
  if (commands.length > 0) return zshGroup(name, specs, commands);
  if (operands.some((operand) => operand.name === 'command')) specs.push("'*::command:_normal'");
  else if (operands.length > 0) {
    specs.push(takesFiles({ operands }) ? "'*:file:_files'" : `'*:${zshText(operands[0].name)}: '`);
  }
  return `${functionName(name)}() {\n  _arguments -s -S \\\n    ${specs.join(' \\\n    ')}\n}\n`;
}

/** A command that has commands: which one, then its own function. */
function zshGroup(name, specs, commands) {
  const known = commands.map((command) => {
    const word = command.name.split(' ').at(-1);
    return `    '${word}:${zshText(command.description)}'`;
  });
  return `${functionName(name)}() {
  local state line
  local -a commands=(
${known.join('\n')}
  )
  _arguments -C \\
    ${[...specs, "'1: :->command'", "'*:: :->words'"].join(' \\\n    ')}
  case $state in
    command) _describe command commands ;;
    words) (( $+functions[${functionName(name)}_$line[1]] )) && ${functionName(name)}_$line[1] ;;
  esac
}
`;
}

function functionName(name) {
  return `_${name.replaceAll(/[ -]/g, '_')}`;
}

function zshText(words) {
  return words.replaceAll("'", '’').replaceAll(/[[\]:\\]/g, '\\$&');
}
