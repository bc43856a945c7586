// The official Node.js builds in packaging/nodes and, for other machines, packaging/nodes-MACHINE, from npm's registry, held
// to the SHA-512 of the lock file there.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './tools.mjs';

/** The one that the Debian package carries: a long-term release that better-sqlite3 12 runs on. */
export const CARRIED = '22';

/** Fetches them where they are not there. By major version, the folder that has `bin/node` and `include/node`. */
export function officialNodes() {
  return nodesOf('nodes');
}

/** The one that packages for the machine carry, of the same version on each. Its headers are the same too. */
export function carriedNode({ node }) {
  const find = (name) => nodesOf(name).find(({ major }) => major === CARRIED);
  const usual = find('nodes');
  if (node === 'x64') return usual;
  const name = `nodes-${node}`;
  const carried = find(name);
  if (carried?.version !== usual.version) {
    throw new Error(
      `packaging/${name}: Node.js ${carried?.version}: expected ${usual.version}, as in packaging/nodes`,
    );
  }
  return carried;
}

function nodesOf(name) {
  const folder = join(root, 'packaging', name);
  const wanted = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).dependencies;
  const nodes = Object.keys(wanted).map((name) => ({
    major: name.replace('node-', ''),
    version: wanted[name].split('@').at(-1),
    path: join(folder, 'node_modules', name),
  }));
  // By force: npm refuses another machine's.
  if (!nodes.every(isThere))
    run('npm', ['ci', '--force', '--loglevel=error', '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: folder,
    });
  return nodes;
}

function isThere({ path, version }) {
  const manifest = join(path, 'package.json');
  return existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).version === version;
}
