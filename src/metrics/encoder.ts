// Our own small encoder of the Prometheus text format 0.0.4 and of OpenMetrics 1.0. Families go in one after the other;
// out comes one Buffer. Labels are escaped once per series (renderLabels) and only copied afterwards; numbers are
// written as digits without a string in between, exactly. Owns the output buffer.

export type ExpositionFormat = 'text' | 'openmetrics';

export const CONTENT_TYPES: Readonly<Record<ExpositionFormat, string>> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
};

export interface FamilyHeader {
  /** As in the text format: counters end in `_total`, infos in `_info`. */
  name: string;
  type: 'counter' | 'gauge' | 'histogram' | 'info';
  help: string;
  /** Names of its labels, for the reference. */
  labels?: readonly string[];
}

/** Units a name can end in, longest first; OpenMetrics states them in a line of their own. */
const UNITS = ['byte_seconds', 'seconds', 'bytes', 'ratio', 'celsius', 'hertz', 'joules', 'watts'];

/** Name of the family without the suffix that only its samples carry in OpenMetrics. */
function openMetricsName(family: FamilyHeader): string {
  const suffix = family.type === 'counter' ? '_total' : family.type === 'info' ? '_info' : '';
  return family.name.endsWith(suffix)
    ? family.name.slice(0, family.name.length - suffix.length)
    : family.name;
}

function escapeHelp(text: string, format: ExpositionFormat): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return format === 'openmetrics' ? escaped.replaceAll('"', '\\"') : escaped;
}

/** `{a="x",b="y"} ` with hostile values made harmless, or one blank for no labels; the blank ends it. */
export function renderLabels(labels: Readonly<Record<string, string>>): Buffer {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(value)}"`);
  return Buffer.from(parts.length === 0 ? ' ' : `{${parts.join(',')}} `, 'utf8');
}

function escapeValue(value: string): string {
  // A lone surrogate is no UTF-8, and one bad series would spoil the whole scrape.
  return value
    .replace(/\p{Surrogate}/gu, '\uFFFD')
    .replaceAll('\\', '\\\\')
    .replaceAll('\n', '\\n')
    .replaceAll('"', '\\"');
}

const NEWLINE = 10;
const DOT = 46;
const ZERO = 48;
const BILLION = 1_000_000_000;
const MILLION = 1_000_000;

export class ExpositionWriter {
  readonly format: ExpositionFormat;
  #buffer: Buffer;
  #length = 0;

  /** `sizeHint`: bytes the last exposition took, so that the buffer seldom grows. */
  constructor(format: ExpositionFormat, sizeHint = 65_536) {
    this.format = format;
    this.#buffer = Buffer.allocUnsafe(Math.max(4096, sizeHint));
  }

  /** HELP, TYPE and, in OpenMetrics, UNIT of the samples that follow. */
  header(family: FamilyHeader): void {
    const open = this.format === 'openmetrics';
    const name = open ? openMetricsName(family) : family.name;
    const type = !open && family.type === 'info' ? 'gauge' : family.type;
    this.text(`# HELP ${name} ${escapeHelp(family.help, this.format)}\n# TYPE ${name} ${type}\n`);
    const unit = open ? UNITS.find((candidate) => name.endsWith(`_${candidate}`)) : undefined;
    if (unit !== undefined) this.text(`# UNIT ${name} ${unit}\n`);
  }

  /** One sample whose value is an integer below 2^53; the last `decimals` of its digits are behind the point. */
  sample(name: Buffer, labels: Buffer, value: number, decimals: 0 | 6 | 9): void {
    this.#reserve(name.length + labels.length + 32);
    this.#copy(name);
    this.#copy(labels);
    if (decimals === 0) this.#integer(value);
    else this.#decimal(value, decimals);
    this.#buffer[this.#length++] = NEWLINE;
  }

  /** The same of any integer. */
  bigSample(name: Buffer, labels: Buffer, value: bigint, decimals: 0 | 6 | 9): void {
    this.#reserve(name.length + labels.length);
    this.#copy(name);
    this.#copy(labels);
    this.text(`${decimals === 0 ? value.toString() : decimalText(value, decimals)}\n`);
  }

  /** One sample whose value is any double. */
  floatSample(name: string, labels: Buffer, value: number): void {
    this.text(name);
    this.bytes(labels);
    this.text(`${floatText(value)}\n`);
  }

  text(text: string): void {
    this.#reserve(text.length * 3);
    this.#length += this.#buffer.write(text, this.#length, 'utf8');
  }

  bytes(bytes: Buffer): void {
    this.#reserve(bytes.length);
    this.#copy(bytes);
  }

  /** Ends the exposition and gives it away; the writer is of no use afterwards. */
  finish(): Buffer {
    if (this.format === 'openmetrics') this.text('# EOF\n');
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const bigger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + bytes));
    this.#buffer.copy(bigger, 0, 0, this.#length);
    this.#buffer = bigger;
  }

  #copy(bytes: Buffer): void {
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #integer(value: number): void {
    if (value >= BILLION) {
      const high = Math.floor(value / BILLION);
      this.#integer(high);
      this.#digits(value - high * BILLION, 9);
      return;
    }
    let digits = 1;
    for (let bound = 10; value >= bound; bound *= 10) digits++;
    this.#digits(value, digits);
  }

  /** Writes exactly `count` digits of a value below 10^9 (32-bit arithmetic), leading zeros included. */
  #digits(value: number, count: number): void {
    const buffer = this.#buffer;
    const start = this.#length;
    let rest = value | 0;
    for (let at = start + count - 1; at >= start; at--) {
      const next = (rest / 10) | 0;
      buffer[at] = ZERO + rest - next * 10;
      rest = next;
    }
    this.#length = start + count;
  }

  #decimal(value: number, decimals: 6 | 9): void {
    const one = decimals === 9 ? BILLION : MILLION;
    const whole = Math.floor(value / one);
    const fraction = value - whole * one;
    this.#integer(whole);
    if (fraction === 0) return;
    this.#buffer[this.#length++] = DOT;
    this.#digits(fraction, decimals);
    while (this.#buffer[this.#length - 1] === ZERO) this.#length--;
  }
}

function decimalText(value: bigint, decimals: 6 | 9): string {
  const one = 10n ** BigInt(decimals);
  const fraction = (value % one).toString().padStart(decimals, '0').replace(/0+$/, '');
  const whole = (value / one).toString();
  return fraction === '' ? whole : `${whole}.${fraction}`;
}

function floatText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}
