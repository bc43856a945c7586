// deploy/prometheus, as promtool sees it: rules that it has nothing to say of, and alerts that fire where they should and
// nowhere else (deploy/prometheus/tests). Needs promtool (Debian: apt-get install prometheus).

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const missing = spawnSync('promtool', ['--version']).error !== undefined;
const why = missing ? ' (skipped: promtool is not installed)' : '';
const folder = fileURLToPath(new URL('../../deploy/prometheus/', import.meta.url));

function promtool(...args: string[]) {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: folder, encoding: 'utf8' });
  return { status, said: stdout + stderr };
}

it.skipIf(missing)(`promtool check rules has nothing to say${why}`, () => {
  const { status, said } = promtool('check', 'rules', '--lint-fatal', 'rules.yml', 'alerts.yml');
  expect(said.match(/SUCCESS: \d+ rules found/g)).toHaveLength(2);
  expect(status).toBe(0);
});

it.skipIf(missing).each(readdirSync(`${folder}tests`))(`promtool test rules: %s${why}`, (file) => {
  const { status, said } = promtool('test', 'rules', `tests/${file}`);
  expect(said).toContain('SUCCESS');
  expect(said).not.toContain('FAILED');
  expect(status).toBe(0);
});
