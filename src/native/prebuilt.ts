// The binaries that a package carries, which scripts/package.mjs makes: prebuilt/PLATFORM-ARCH/ beside dist/. A clone
// has no such folder and uses what was built in it. Owns no state; Node loads each file once.

import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LezeaError, messageOf } from '../errors.js';

const require = createRequire(import.meta.url);
const PREBUILT = fileURLToPath(new URL('../../prebuilt/', import.meta.url));

/**
 * Path of a binary of this package, which was loaded from there; undefined in a clone. Throws LezeaError `package`
 * where the package has none for this machine, or where it does not load here.
 */
export function prebuilt(name: string, folder = PREBUILT): string | undefined {
  if (!existsSync(folder)) return undefined;
  const machine = `${process.platform}-${process.arch}`;
  const path = join(folder, machine, name);
  if (!existsSync(path)) {
    const others = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.node'),
    );
    throw unfit(`no ${join(machine, name)} is in it; expected one of what is: ${others.sort().join(', ')}`);
  }
  try {
    require(path);
  } catch (error) {
    throw unfit(messageOf(error), error);
  }
  return path;
}

function unfit(why: string, cause?: unknown): LezeaError {
  return new LezeaError('package', `this package does not fit Node.js ${process.version} here: ${why}`, {
    cause,
  });
}
