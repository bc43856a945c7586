// The node_modules of packages: what package.json depends on, as npm laid it out here, overrides included. Each
// manifest is left with exactly what lies beside it, and without scripts: npm has nothing to fetch and nothing to
// run.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { manifest, root } from './tools.mjs';

/** Only for building the addon. */
const BUILD_ONLY = new Set(['node-addon-api']);
/** Its own binding is looked up and built by others; ours are beside our addon. */
const LEFT_OUT = { 'better-sqlite3': ['bindings', 'prebuild-install'] };
/** Beside what is hidden: of a package's own folder, nothing that runs. */
const NOT_RUN = /^(\..*|node_modules|tests?|docs|examples?|benchmarks?|.*\.(html|tgz))$/;
const KEPT = { 'better-sqlite3': ['lib', 'LICENSE', 'README.md'] };

export function productionDependencies() {
  return Object.fromEntries(Object.entries(manifest.dependencies).filter(([name]) => !BUILD_ONLY.has(name)));
}

export function copyModules(target) {
  const seen = new Set();
  const wanted = Object.keys(productionDependencies()).map((name) => ({ name, from: '' }));
  for (let next = wanted.pop(); next; next = wanted.pop()) {
    const place = find(next.name, next.from);
    if (seen.has(place)) continue;
    seen.add(place);
    for (const name of copyModule(place, next.name, target)) wanted.push({ name, from: place });
  }
}

/** Copies one without what is nested in it; the names it depends on. */
function copyModule(place, name, target) {
  const source = join(root, place);
  const copy = join(target, place);
  const own = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  const dependencies = Object.keys(own.dependencies ?? {}).filter(
    (other) => !LEFT_OUT[name]?.includes(other),
  );
  mkdirSync(copy, { recursive: true });
  const kept = KEPT[name] ?? readdirSync(source).filter((part) => !NOT_RUN.test(part));
  for (const part of kept) cpSync(join(source, part), join(copy, part), { recursive: true, filter: isShown });
  own.dependencies = Object.fromEntries(
    dependencies.map((other) => {
      const found = join(root, find(other, place), 'package.json');
      return [other, JSON.parse(readFileSync(found, 'utf8')).version];
    }),
  );
  for (const field of ['scripts', 'devDependencies', 'optionalDependencies', 'peerDependencies', 'overrides'])
    delete own[field];
  writeFileSync(join(copy, 'package.json'), `${JSON.stringify(own, null, 2)}\n`);
  return dependencies;
}

function isShown(path) {
  return !basename(path).startsWith('.');
}

/** As Node.js looks: in the node_modules of the folder, then of those above it. Relative to the clone. */
function find(name, from) {
  for (let folder = from; ; folder = dirname(folder)) {
    const place = join(folder, 'node_modules', name);
    if (existsSync(join(root, place, 'package.json'))) return place;
    if (folder === '' || folder === '.') throw new Error(`${name} is not installed: run \`npm ci\` first`);
  }
}
