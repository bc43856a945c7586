// Which binary a package gives to the Node.js that runs, and what it says where it has none.

import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LezeaError } from '../../../src/errors.js';
import { prebuilt } from '../../../src/native/prebuilt.js';

const MACHINE = `${process.platform}-${process.arch}`;
const BUILT = new URL('../../../build/Release/lezea_monitor.node', import.meta.url).pathname;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-prebuilt-'));
  mkdirSync(join(folder, MACHINE));
});

afterEach(() => rmSync(folder, { recursive: true }));

function fault(name: string): LezeaError {
  try {
    prebuilt(name, folder);
  } catch (error) {
    if (error instanceof LezeaError) return error;
  }
  throw new Error('it did not refuse');
}

it('has nothing in a clone, which uses what it built', () => {
  expect(prebuilt('lezea_monitor.node', join(folder, 'no-such-folder'))).toBeUndefined();
});

it('is the file of this machine', () => {
  const path = join(folder, MACHINE, 'lezea_monitor.node');
  copyFileSync(BUILT, path);
  expect(prebuilt('lezea_monitor.node', folder)).toBe(path);
});

it('names what the package has where it has none for this Node.js', () => {
  writeFileSync(join(folder, MACHINE, 'better_sqlite3-node99.node'), '');
  const { code, message } = fault('better_sqlite3-node1.node');
  expect(code).toBe('package');
  expect(message).toContain(
    `does not fit Node.js ${process.version} here: no ${MACHINE}/better_sqlite3-node1.node`,
  );
  expect(message).toContain(`${MACHINE}/better_sqlite3-node99.node`);
});

it('says why a file does not load', () => {
  writeFileSync(join(folder, MACHINE, 'lezea_monitor.node'), 'no library');
  expect(fault('lezea_monitor.node').message).toMatch(/does not fit .*(too short|invalid ELF header)/);
});
