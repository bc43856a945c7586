// SCOPES SECONDS: CPU milliseconds of a checkpoint of that many changed scopes, in turns with better-sqlite3 alone
// writing the same bytes: in the same pages, and in a row for every column.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { COLUMNS } from '../../dist/native/frame.js';
import { runWithScopes, timed } from './attribution.mjs';

const PAGE_ROWS = 64;
const PAGE_BYTES = PAGE_ROWS * 192;

function floor(folder, scopes) {
  const db = new Database(join(folder, 'floor.db'));
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  db.exec('CREATE TABLE pages (run INTEGER, page INTEGER, rows BLOB, PRIMARY KEY (run, page))');
  db.exec(
    'CREATE TABLE cells (scope INTEGER, col INTEGER, value INTEGER, PRIMARY KEY (scope, col)) WITHOUT ROWID',
  );
  const putPage = db.prepare('INSERT OR REPLACE INTO pages VALUES (1, ?, ?)');
  const putCell = db.prepare('INSERT OR REPLACE INTO cells VALUES (?, ?, ?)');
  const page = Buffer.alloc(PAGE_BYTES, 7);
  const pages = Math.ceil((scopes + 1) / PAGE_ROWS);
  let count = 0;
  return {
    pages: db.transaction(() => {
      page[0] = count++ & 255;
      for (let i = 0; i < pages; i++) putPage.run(i, page);
    }),
    cells: db.transaction(() => {
      count++;
      for (let i = 0; i <= scopes; i++) for (let c = 0; c < COLUMNS.length; c++) putCell.run(i, c, count);
    }),
  };
}

const [scopes, seconds] = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(tmpdir(), 'lezea-bench-'));
try {
  const { attribution, sampler, close } = await runWithScopes(folder, scopes);
  const alone = floor(folder, scopes);
  const figures = { ours: [], pages: [], cells: [] };
  const until = performance.now() + seconds * 1000;
  for (let round = 0; round < 8 || performance.now() < until; round++) {
    const pulls = sampler.cpuMs;
    const whole = await timed(() => attribution.checkpoint.request());
    const sample = {
      ours: whole - (sampler.cpuMs - pulls),
      pages: await timed(alone.pages),
      cells: round % 5 === 0 ? await timed(alone.cells) : undefined,
    };
    if (round < 3) continue; // warming up
    for (const [name, value] of Object.entries(sample)) if (value !== undefined) figures[name].push(value);
  }
  process.stdout.write(JSON.stringify(figures));
  close();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
