// The man pages, made from the commands and the configuration's keys: what they say is what the program does.
import { allCommands } from './command-tree.mjs';

const EXIT_STATUS = [
  ['0', 'Fine.'],
  [
    '1',
    'The thing asked about is not fine: an unknown run, an agent that is degraded, a source that is missing.',
  ],
  ['2', 'Bad usage or configuration.'],
  ['3', 'No agent.'],
];
const FILES = [
  ['/etc/lezea-monitor/config.yaml', 'The configuration of the service; see lezea-monitor-config(5).'],
  [
    '/etc/lezea-monitor/environment',
    'Variables of the service, NAME=VALUE, such as credentials of a tracker.',
  ],
  ['/run/lezea-monitor/agent.sock', 'The socket of the service.'],
  ['/var/lib/lezea-monitor', 'State and documents of the service.'],
];
const ENVIRONMENT = [
  ['LEZEA_MONITOR_SOCKET', 'The socket of the agent, and no other is looked for.'],
  ['LEZEA_RUN_ID', 'The run that `run` attaches to; the command that it starts finds the run there.'],
];
const RUN_STATUS =
  '`run` ends as its command does: its status, 128 + the signal that ended it, 127 if it is not there, 126 if it ' +
  'cannot be run.';
const AGENT =
  'Samples what processes use, attributes it to runs and their scopes, keeps it, and answers on a Unix socket and ' +
  'over HTTP. Started by root or as the service lezea-monitor.service it is the whole machine’s; started by anybody ' +
  'else it is that account’s.';
const CONFIG =
  'A YAML file. The environment and the command line come after it. An unknown key or a value that does not fit is ' +
  'an error; `lezea-monitor config check` says which. A key that is live is applied by SIGHUP, any other at the next ' +
  'start.';
const MAN = '/usr/share/doc/lezea-monitor/';

/** Text of each page by file name. `date` is YYYY-MM-DD. */
export function manPages({ tree, sections, version, date }) {
  const title = (name, section) =>
    `.TH ${name} ${section} ${date} "lezea-monitor ${version}" "lezea-monitor"\n.nh\n.ad l`;
  const agent = tree.commands.find((command) => command.name.endsWith(' agent'));
  const others = allCommands(tree).filter((command) => command !== agent && command.commands.length === 0);
  return {
    'lezea-monitor.1': [
      title('LEZEA\\-MONITOR', 1),
      `.SH NAME\nlezea\\-monitor \\- ${text('what a training run and each of its components cost')}`,
      '.SH SYNOPSIS\n.B lezea\\-monitor\n.I command\n[\\fIoptions\\fR]',
      `.SH DESCRIPTION\n${text(tree.description)}\n${text('The agent measures; these commands ask it.')}`,
      `.SH COMMANDS\n${others.map(commandText).join('\n')}`,
      listed('EXIT STATUS', EXIT_STATUS),
      `.PP\n${text(RUN_STATUS)}`,
      listed('ENVIRONMENT', ENVIRONMENT),
      listed('FILES', FILES),
      seeAlso('lezea\\-monitor\\-agent\\fR(8), \\fBlezea\\-monitor\\-config\\fR(5)'),
    ].join('\n'),
    'lezea-monitor-agent.8': [
      title('LEZEA\\-MONITOR\\-AGENT', 8),
      '.SH NAME\nlezea\\-monitor\\-agent \\- the daemon that measures training runs',
      `.SH SYNOPSIS\n.B lezea\\-monitor agent\n[\\fIoptions\\fR]`,
      `.SH DESCRIPTION\n${text(AGENT)}`,
      `.SH OPTIONS\n${options(agent.options)}`,
      listed('SIGNALS', [
        ['SIGHUP', 'Reads the configuration again; an invalid one changes nothing.'],
        ['SIGTERM, SIGINT', 'Ends it; runs go on when an agent is started again.'],
      ]),
      listed('EXIT STATUS', EXIT_STATUS.slice(0, 3)),
      listed('FILES', FILES),
      seeAlso('lezea\\-monitor\\fR(1), \\fBlezea\\-monitor\\-config\\fR(5), \\fBsystemctl\\fR(1)'),
    ].join('\n'),
    'lezea-monitor-config.5': [
      title('LEZEA\\-MONITOR\\-CONFIG', 5),
      '.SH NAME\nlezea\\-monitor\\-config \\- configuration of the lezea\\-monitor agent',
      '.SH SYNOPSIS\n.I /etc/lezea\\-monitor/config.yaml\n.br\n.I $XDG_CONFIG_HOME/lezea\\-monitor/config.yaml',
      `.SH DESCRIPTION\n${text(CONFIG)}`,
      ...sections.map(
        ({ name, description, keys }) =>
          `.SH ${(name || 'keys of no section').toUpperCase()}\n${text(description)}\n` +
          keys.map(keyText).join('\n'),
      ),
      seeAlso('lezea\\-monitor\\fR(1), \\fBlezea\\-monitor\\-agent\\fR(8)'),
    ].join('\n'),
  };
}

function commandText({ name, usage, description, options: own, operands }) {
  const parts = [`.SS ${text(`${name} ${usage}`)}`, text(`${sentence(description)}`)];
  for (const operand of operands.filter(({ description: said }) => said)) {
    parts.push(`.TP\n.I ${text(operand.name)}\n${text(sentence(operand.description))}`);
  }
  parts.push(options(own));
  return parts.filter(Boolean).join('\n');
}

function options(list) {
  return list
    .map(({ flags, description }) => `.TP\n.B ${text(flags)}\n${text(sentence(description))}`)
    .join('\n');
}

function keyText({ name, fallback, meta }) {
  const chosen = meta.defaultNote ?? JSON.stringify(fallback).replaceAll(',', ', ');
  const unit = meta.unit === undefined ? '' : ` Unit: ${meta.unit}.`;
  const live = meta.live ? ' Live.' : '';
  const said = `${meta.description}${unit} Expects ${meta.expects}. Default: ${chosen}.${live}`;
  return `.TP\n.B ${text(name)}\n${text(said)}`;
}

function listed(heading, entries) {
  return `.SH ${heading}\n${entries.map(([name, meaning]) => `.TP\n.B ${text(name)}\n${text(meaning)}`).join('\n')}`;
}

function seeAlso(pages) {
  return `.SH SEE ALSO\n\\fB${pages}, \\fI${text(MAN)}\\fR\n`;
}

function sentence(words) {
  if (words === '') return '';
  const first = words[0].toUpperCase() + words.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** As roff has it: hyphens are those of programs, no line begins a request, Markdown’s quotes go. */
function text(words) {
  return words
    .replaceAll('\\', '\\e')
    .replaceAll('`', '')
    .replaceAll('-', '\\-')
    .replaceAll('’', '\\(cq')
    .replaceAll('…', '...')
    .replace(/^([.'])/gm, '\\&$1');
}
