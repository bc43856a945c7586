// docs/protocol.md, made from the schemas of protocol.ts so that it can never say something else. Pure.

import { z } from 'zod';
import {
  AGENT_SHARES,
  DEFAULT_LIMITS,
  LIMIT_TABLE,
  type LimitMeaning,
  USER_SHARES,
} from '../attribution/limits.js';
import { ERROR_WORDS } from './errors.js';
import { NOTIFICATIONS } from './notifications.js';
import { DEAR_TOKENS, METHODS, type Method, PROTOCOL_VERSION } from './protocol.js';

interface Schema {
  type?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  maxLength?: number;
  maxItems?: number;
}

/** The whole document, Markdown. */
export function describeProtocol(): string {
  const methods = Object.entries(METHODS).map(([name, method]) => describeMethod(name, method));
  const notifications = Object.entries(NOTIFICATIONS).map(([name, { summary, params }]) =>
    [`### \`${name}\``, summary, table(jsonSchema(params))].join('\n\n'),
  );
  return `${[INTRODUCTION, '## Methods', ...methods, '## Notifications', ...notifications, limits(), errors()].join('\n\n')}\n`;
}

/** Any method may refuse with these. */
const ALWAYS_REFUSED = ['invalid_params', 'too_large'];

const INTRODUCTION = `# Socket protocol

Generated from \`src/ipc/protocol.ts\` by \`npm run docs\`; do not edit.

A Unix stream socket; a line of JSON per message, JSON-RPC 2.0, version ${PROTOCOL_VERSION}. A request is at most
${DEFAULT_LIMITS.requestBytes} bytes long. A request without \`id\` is a notification: it is carried out and not answered. Unknown fields
are ignored, unknown methods refused. The agent learns who a client is from the kernel; a run belongs to the user and
the PID namespace of the process that began it, and to others it does not exist.

What an agent that is told to stop has answered, it has stored, unless that fails, which its log says. What came too
late it does not answer: the connection ends, and the next agent is to be asked. A killed one stores nothing more: its
runs go on from the last checkpoint.

Times: \`t_ns\`, \`t_mono_ns\` are CLOCK_MONOTONIC in nanoseconds; others are ISO 8601 in UTC. Columns are numbers in base
units (seconds, bytes, byte-seconds, counts); a column that is not known has no key.`;

function describeMethod(name: string, method: Method): string {
  const summary = method.dear ? `${method.summary} Dear: ${DEAR_TOKENS} tokens more.` : method.summary;
  const parts = [`### \`${name}\``, summary, '**Parameters**', table(jsonSchema(method.params))];
  const result = jsonSchema(method.result);
  for (const variant of result.anyOf ?? [result]) parts.push('**Result**', table(variant));
  if (method.refuses.length > 0) {
    const words = new Set([...ALWAYS_REFUSED, ...method.refuses]);
    parts.push(`**Refuses with** ${[...words].map((word) => `\`${word}\``).join(', ')}.`);
  }
  return parts.join('\n\n');
}

function jsonSchema(schema: z.ZodType): Schema {
  return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Schema;
}

function table(schema: Schema): string {
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const required = schema.required?.includes(name) && field.default === undefined ? 'yes' : '';
    return `| \`${name}\` | ${typeOf(field)} | ${required} | ${meaning(field)} |`;
  });
  if (rows.length === 0) return 'None.';
  return ['| field | type | always | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

function meaning(field: Schema): string {
  const said = field.description ?? '';
  const fallback = field.default === undefined ? '' : `Default \`${JSON.stringify(field.default)}\`.`;
  const most = field.maxLength === undefined ? '' : `At most ${field.maxLength} characters.`;
  const entries = field.maxItems === undefined ? '' : `At most ${field.maxItems}.`;
  return [said, most, entries, fallback]
    .filter((part) => part !== '')
    .join(' ')
    .replaceAll('|', '\\|');
}

function typeOf(field: Schema): string {
  if (field.anyOf) return field.anyOf.map(typeOf).join(' or ');
  if (field.const !== undefined) return `\`${JSON.stringify(field.const)}\``;
  if (field.enum) return field.enum.map((value) => `\`${value}\``).join(', ');
  if (field.type === 'array') return `list of ${field.items ? typeOf(field.items) : 'anything'}`;
  if (field.type === 'object' && field.properties) {
    const fields = Object.entries(field.properties).map(([name, inner]) => `\`${name}\`: ${typeOf(inner)}`);
    return `{ ${fields.join('; ')} }`;
  }
  if (field.type === 'object' && typeof field.additionalProperties === 'object') {
    return `object of ${typeOf(field.additionalProperties)}`;
  }
  return field.type ?? 'anything';
}

const PAST: Record<LimitMeaning['past'], string> = {
  too_many: '`too_many`',
  too_large: '`too_large`',
  waits: 'the connection is not read until there is room',
  lost: 'the notification is lost; a `resync` says so',
  let_go: 'the oldest of the owner are read back from the disk when they are asked for',
};

function limits(): string {
  const rows = Object.entries(LIMIT_TABLE).map(
    ([name, { value, counts, past, owner }]) =>
      `| \`${name}\` | ${value} | ${owner ? 'owner' : ''} | ${counts} | ${PAST[past]} |`,
  );
  return `## Limits

A refusal names its limit, the most it allows, and is counted in \`lezea_agent_refusals_total{limit}\`; who has to wait is
counted in \`lezea_agent_waits_total{limit}\`. A limit of an owner holds for one user id in one PID namespace; all PID
namespaces of a user id together have ${USER_SHARES} times as much, all owners together ${AGENT_SHARES} times. A request costs
one token, one more for each KiB, and ${DEAR_TOKENS} more where it says so.

${['| limit | most | of one | counts | past it |', '|---|---|---|---|---|', ...rows].join('\n')}`;
}

function errors(): string {
  const rows = Object.entries(ERROR_WORDS).map(([word, meaningOf]) => `| \`${word}\` | ${meaningOf} |`);
  return `## Errors

An error has a JSON-RPC \`code\`, a \`message\` of one line, and in \`data.code\` one of these stable words (or \`internal\`,
a fault of the agent that its log explains). Codes: -32700 not JSON, -32600 not a request, -32601 unknown method, -32602
\`invalid_params\`, -32603 \`internal\`, -32000 every other refusal.

${['| word | meaning |', '|---|---|', ...rows].join('\n')}`;
}
