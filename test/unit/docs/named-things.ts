// Whether what docs/spec-coverage.md and docs/security.md name is there: files and tests in them, commands and options, methods of the protocol,
// configuration keys, metric families, documents and places in them, names at the tracker, and Python's. Reads the repository
// and the program's own tables; starts a Python that imports the client.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { buildProgram } from '../../../src/cli/program.js';
import { CONFIG_KEYS } from '../../../src/config/keys.js';
import {
  CONSTRAINTS_FILE,
  COST_FILE,
  ENVIRONMENT_FILE,
  EVENTS_FILE,
  HARDWARE_USAGE_FILE,
  METRICS_FILE,
  SUMMARY_FILE,
} from '../../../src/files/run-files.js';
import { httpCounters } from '../../../src/http/counters.js';
import { METHODS } from '../../../src/ipc/protocol.js';
import { describeMetrics } from '../../../src/metrics/describe.js';
import { AgentRegistry } from '../../../src/metrics/registry.js';

const ROOT = resolve(import.meta.dirname, '../../..');
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');

/** Each document, and the JSON Schema or the golden document that says what is in it. */
const DOCUMENTS: Record<string, string | undefined> = {
  [SUMMARY_FILE]: 'test/unit/files/summary.golden.json',
  [ENVIRONMENT_FILE]: 'docs/schemas/environment.json',
  [CONSTRAINTS_FILE]: 'docs/schemas/constraints.json',
  [COST_FILE]: 'docs/schemas/cost.json',
  [METRICS_FILE]: 'test/unit/files/metrics.golden.json',
  [HARDWARE_USAGE_FILE]: 'docs/schemas/hardware-usage.json',
  [EVENTS_FILE]: undefined,
};

/** Where the client says what its facts are called. */
const CAPTURING = ['capture', 'git_state', 'installed'].map((name) => `python/lezea_monitor/${name}.py`);

/** Those of the names that are not there. */
export function missingOf(names: readonly string[]): string[] {
  const python = new Map<string, string>();
  const missing = names.filter((name) => {
    const path = pythonPath(name);
    if (path !== undefined) python.set(path, name);
    return path === undefined && !isThere(name);
  });
  for (const path of missingInPython([...python.keys()])) missing.push(python.get(path)!);
  return missing;
}

/** Those of a document's links to documents that lead nowhere: `limits.md`, `cli.md#preflight`. */
export function deadLinksOf(markdown: string): string[] {
  const links = [...markdown.matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => link);
  return links.filter((link) => {
    const [file = '', anchor] = link.split('#');
    if (!existsSync(join(ROOT, 'docs', file))) return true;
    const headings = [...read(`docs/${file}`).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      slug(heading),
    );
    return anchor !== undefined && !headings.includes(anchor);
  });
}

/** What a heading is called in a link. */
function slug(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\w\s-]/g, '')
    .replaceAll(' ', '-');
}

function isThere(name: string): boolean {
  if (name.startsWith('lezea-monitor ')) return isCommand(name.split(' ').slice(1));
  // In a path or a tag that has a blank to fill.
  if (name.includes('<'))
    return ['delivery', 'metrics'].some((doc) => read(`docs/${doc}.md`).includes(`\`${name}\``));
  if (name.startsWith('lezea_monitor.')) return isTag(name.slice('lezea_monitor'.length));
  if (name.startsWith('lezea_')) return families().has(name);
  const [file = '', place] = name.split('#');
  if (Object.hasOwn(DOCUMENTS, file)) return place === undefined || isPlace(file, place);
  if (/^\w+(\.\w+)+$/.test(name) && (Object.hasOwn(METHODS, name) || CONFIG_KEYS.has(name))) return true;
  return isFile(name);
}

/** `.status`: a tag of the run at the tracker, in the table of docs/delivery.md. */
function isTag(name: string): boolean {
  const rows = read('docs/delivery.md').matchAll(/^\| tag ([^|]+)/gm);
  return [...rows].some(([, cell = '']) =>
    [`\`${name}\``, `\`lezea_monitor${name}\``].some((quoted) => cell.includes(quoted)),
  );
}

/** `test/unit/x.test.ts`, or a test in it: `test/unit/x.test.ts › says so`. */
function isFile(name: string): boolean {
  const [file = '', title] = name.split(' › ');
  if (!/^(src|python|native|docs|test|examples|scripts|bench)\/[\w./-]+$/.test(file)) return false;
  if (!existsSync(join(ROOT, file))) return false;
  if (title === undefined) return true;
  if (file.endsWith('.py')) return new RegExp(`^\\s*def ${title}\\(`, 'm').test(read(file));
  if (file.endsWith('.cc')) return read(file).includes(`"${title}"`);
  return [`'${title}'`, `"${title}"`, `\`${title}\``].some((quoted) =>
    new RegExp(`^\\s*(?:(?:it|test|describe)[\\w.]*|\\]\\))\\(\\s*${escaped(quoted)},`, 'm').test(read(file)),
  );
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** `run --limit --on-limit`: a command, and options of it. */
function isCommand(words: string[]): boolean {
  let command: Command | undefined = buildProgram({} as never, () => undefined);
  for (const word of words.filter((word) => /^[a-z]/.test(word)))
    command = command?.commands.find((one) => one.name() === word);
  const options = words.filter((word) => word.startsWith('--'));
  return command !== undefined && options.every((name) => command.options.some(({ long }) => long === name));
}

function families(): Set<string> {
  const registry = new AgentRegistry();
  httpCounters(registry);
  const rows = describeMetrics(registry.families()).matchAll(/^\| `(lezea_[^`]+)` \|/gm);
  return new Set([...rows].map(([, name = '']) => name));
}

/** A JSON pointer into a document; below a run's facts, words that the client captures. */
function isPlace(file: string, pointer: string): boolean {
  const source = DOCUMENTS[file];
  if (source === undefined || !pointer.startsWith('/')) return false;
  let node = JSON.parse(read(source)) as Record<string, unknown> | undefined;
  const words = pointer.slice(1).split('/');
  for (const [i, word] of words.entries()) {
    const inner = source.startsWith('docs/') ? propertyOf(node, word) : node;
    if (i === 2 && file === ENVIRONMENT_FILE && pointer.startsWith('/run/facts/'))
      return words.slice(i).every(isCaptured);
    if (!isObject(inner) || !Object.hasOwn(inner, word)) return false;
    node = inner[word] as Record<string, unknown>;
  }
  return true;
}

/** What a schema says of a property, by its name or by a pattern of names. */
function propertyOf(schema: Record<string, unknown> | undefined, word: string): Record<string, unknown> {
  const patterns = Object.entries(isObject(schema?.patternProperties) ? schema.patternProperties : {});
  const said = patterns.find(([pattern]) => new RegExp(pattern).test(word))?.[1];
  return {
    ...(said !== undefined && { [word]: said }),
    ...(isObject(schema?.properties) && schema.properties),
  };
}

function isCaptured(word: string): boolean {
  return word === 'captured' || CAPTURING.some((file) => read(file).includes(`"${word}"`));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** `run.facts(dataset_version=)` is `lezea_monitor.run.Run.facts(dataset_version=)`; other names are none of Python's. */
function pythonPath(name: string): string | undefined {
  if (/^run\.\w+\(.*\)$/.test(name)) return name.replace('run.', 'lezea_monitor.run.Run.');
  return /^lezea_monitor\.[\w.]+\(.*\)$/.test(name) ? name : undefined;
}

const LOOK = `
import importlib, inspect, json, re, sys

def found(name):
    path, given = re.fullmatch(r"([\\w.]+)\\((.*)\\)", name).groups()
    words = path.split(".")
    thing = importlib.import_module(words[0])
    for i, word in enumerate(words[1:], 2):
        if word in getattr(thing, "__annotations__", {}):
            return True  # an attribute of each instance
        if not hasattr(thing, word):
            try:
                importlib.import_module(".".join(words[:i]))
            except ImportError:
                return False
        thing = getattr(thing, word)
    if not callable(thing):
        return False
    taken = inspect.signature(thing).parameters.values()
    known = {one.name for one in taken}
    anything = any(one.kind is one.VAR_KEYWORD for one in taken)
    return all(anything or word in known for word in re.findall(r"(\\w+)=", given))

print(json.dumps([name for name in json.load(sys.stdin) if not found(name)]))
`;

function missingInPython(names: readonly string[]): string[] {
  if (names.length === 0) return [];
  const said = execFileSync('python3', ['-c', LOOK], {
    input: JSON.stringify(names),
    encoding: 'utf8',
    env: { ...process.env, PYTHONPATH: join(ROOT, 'python') },
  });
  return JSON.parse(said) as string[];
}
