// Figures and tables for people. Pure: numbers in base units go in, text comes out. Unknown figures are shown as `-`.

/** 0.85 s, 12.3 s, 2 m 03.4 s, 5 h 07 m. */
export function formatSeconds(seconds: number | undefined): string {
  if (seconds === undefined) return '-';
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 3 : 2)} s`;
  const tenths = Math.round(seconds * 10);
  if (tenths < 36_000) {
    return `${Math.floor(tenths / 600)} m ${((tenths % 600) / 10).toFixed(1).padStart(4, '0')} s`;
  }
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} m`;
}

const JOULE_UNITS = ['J', 'kJ', 'MJ', 'GJ', 'TJ'] as const;

/** 12.5 J, 1.23 kJ. */
export function formatJoules(joules: number | undefined): string {
  if (joules === undefined) return '-';
  let value = joules;
  let unit = 0;
  while (value >= 999.5 && unit < JOULE_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toPrecision(3)} ${JOULE_UNITS[unit]}`;
}

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** 512 B, 1.23 GB (10⁹ bytes). */
export function formatBytes(bytes: number | undefined): string {
  if (bytes === undefined) return '-';
  let value = bytes;
  let unit = 0;
  // 999.5 kB would round to 1000 kB.
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  if (unit === 0) return `${value} B`;
  return `${value.toPrecision(3)} ${BYTE_UNITS[unit]}`;
}

/** 1 234 567, with thin groups that no locale changes. */
export function formatCount(count: number | undefined): string {
  if (count === undefined) return '-';
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ' ');
}

/** Share of a whole; `-` where either is unknown or the whole is nothing. */
export function formatShare(part: number | undefined, whole: number | undefined): string {
  if (part === undefined || whole === undefined || whole <= 0) return '-';
  return `${((100 * part) / whole).toFixed(1)} %`;
}

/** Local wall-clock time of an ISO timestamp, to the second. */
export function formatTime(iso: string | undefined): string {
  if (iso === undefined) return '-';
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return '-';
  const two = (value: number) => String(value).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Names come from programs: no control character of theirs reaches the terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069]/gu, '\uFFFD');
}

export interface TableColumn {
  title: string;
  align?: 'left' | 'right';
}

/** Rows under titles, two spaces between columns, no trailing blanks. Every line ends in a newline. */
export function formatTable(columns: readonly TableColumn[], rows: readonly (readonly string[])[]): string {
  const cells = [columns.map((column) => column.title), ...rows.map((row) => row.map(printable))];
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => width(row[index] ?? ''))));
  const lines = cells.map((row) =>
    columns
      .map((column, index) => pad(row[index] ?? '', widths[index] ?? 0, column.align ?? 'left'))
      .join('  ')
      .trimEnd(),
  );
  return lines.map((line) => `${line}\n`).join('');
}

function pad(text: string, size: number, align: 'left' | 'right'): string {
  const blanks = ' '.repeat(Math.max(0, size - width(text)));
  return align === 'left' ? text + blanks : blanks + text;
}

/** Characters, not UTF-16 units; good enough for names, and exact for everything printed here. */
function width(text: string): number {
  return [...text].length;
}
