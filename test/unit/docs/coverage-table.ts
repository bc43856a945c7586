// Reads the tables of docs/spec-coverage.md: what another system records, what serves it here, where, and which test shows it.
// Pure.

export interface CoverageRow {
  /** Heading that it stands under. */
  system: string;
  /** What they record, in words. */
  recorded: string;
  /** The three cells that name things of ours. */
  served: string;
  where: string;
  tests: string;
}

const CELLS = 4;

/** Throws where a line of a table has not the cells that it should. */
export function coverageRows(markdown: string): CoverageRow[] {
  const rows: CoverageRow[] = [];
  let system = '';
  for (const line of markdown.split('\n')) {
    system = /^## (.+)$/.exec(line)?.[1] ?? system;
    if (!line.startsWith('|') || /^\|(-+\|)+$/.test(line) || line.startsWith('| they record |')) continue;
    const cells = line
      .replace(/^\|/, '')
      .replace(/\|$/, '')
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim());
    if (cells.length !== CELLS) throw new Error(`${cells.length} cells, expected ${CELLS}: ${line}`);
    const [recorded, served, where, tests] = cells as [string, string, string, string];
    rows.push({ system, recorded, served, where, tests });
  }
  return rows;
}

/** What a cell names, in code spans. */
export function namesIn(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
}
