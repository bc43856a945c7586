// The figures of one series row: the shown columns of one scope (or run) over all attempts of its run, as exact native
// integers. Reads Totals; emits cells that the encoder copies out.

import type { Totals } from '../attribution/totals.js';
import { COLUMN_LIST, type Column, DECIMALS } from '../native/frame.js';

/** A column as /metrics shows it. */
export interface Shown {
  /** Name of the column, or `memory_bytes`: memory of now, which is no column. */
  name: string;
  help: string;
  gauge: boolean;
  /** Decimal places that the native integer has when it is shown: 9 of ns, 6 of µJ. */
  decimals: 0 | 6 | 9;
  /** Parts of a run add up to it. */
  sums: boolean;
  /** null: memory of now. */
  column: Column | null;
  /** Scopes have a series for each GPU that they used. */
  ofGpu: boolean;
}

/** An exact native integer: a number below 2^53, else a bigint; undefined is unknown. */
export type Cell = number | bigint | undefined;
export type Cells = Cell[];

const HELP: Record<string, string> = {
  cpu_seconds: 'CPU time, user and system',
  cpu_user_seconds: 'CPU time in user mode',
  cpu_system_seconds: 'CPU time in the kernel',
  runqueue_wait_seconds: 'Time runnable threads waited for a CPU',
  memory_byte_seconds: 'Memory held, integrated over time',
  io_read_bytes: 'Bytes read from storage',
  io_write_bytes: 'Bytes written to storage',
  io_cancelled_write_bytes: 'Bytes whose writing to storage was cancelled',
  io_logical_read_bytes: 'Bytes read through system calls, caches included',
  io_logical_write_bytes: 'Bytes written through system calls, caches included',
  io_read_ops: 'Read system calls',
  io_write_ops: 'Write system calls',
  minor_faults: 'Page faults served without storage',
  major_faults: 'Page faults served from storage',
  voluntary_switches: 'Voluntary context switches',
  involuntary_switches: 'Involuntary context switches',
  active_seconds: 'Thread-seconds announced',
  activations: 'Times the scope was entered',
  memory_peak_bytes: 'Greatest memory held at one sample, everything below the scope included',
  gpu_active_seconds: 'Utilisation of GPUs integrated over time by the share of their work, estimated',
  gpu_allocated_seconds: 'Time for which GPUs were held',
  gpu_energy_joules: 'Energy of GPUs by the share of their work and of their memory, estimated',
  gpu_memory_byte_seconds: 'Memory of GPUs held, integrated over time',
  gpu_memory_peak_bytes: 'Greatest memory of GPUs held at one sample, everything below the scope included',
  cpu_energy_joules: 'Energy of CPU packages and their memory by the share of CPU time used, estimated',
};

const MEMORY_NOW: Shown = {
  name: 'memory_bytes',
  help: 'Memory held at the last sample',
  gauge: true,
  decimals: 0,
  sums: true,
  column: null,
  ofGpu: false,
};

/** The columns of that configuration, in frame order, memory of now last. */
export function shownColumns(names: readonly string[]): Shown[] {
  const wanted = new Set(names);
  const shown = COLUMN_LIST.filter((column) => wanted.has(column.name)).map((column) => ({
    name: column.name,
    help: HELP[column.name] ?? column.name,
    gauge: column.kind === 'gauge',
    decimals: DECIMALS[column.unit],
    sums: column.additive,
    column,
    ofGpu: column.ofGpu,
  }));
  return wanted.has(MEMORY_NOW.name) ? [...shown, MEMORY_NOW] : shown;
}

/** Below this a native integer survives the way to base units and back: the two roundings stay under a quarter of 1. */
const EXACT_NATIVE = 2 ** 50;

/** The exact native integer of a column that is known; bigints, which are slow, only where a number cannot hold it. */
function readColumn(totals: Totals, { name, unit }: Column): Cell {
  if (unit === 'byte_ns') return totals.native(name);
  const value = totals.value(name);
  if (value === undefined) return undefined;
  if (unit === 'ns' || unit === 'uj') {
    const natives = value * (unit === 'ns' ? 1e9 : 1e6);
    return natives < EXACT_NATIVE ? Math.round(natives) : totals.native(name);
  }
  return value <= Number.MAX_SAFE_INTEGER ? value : totals.native(name);
}

/** Exact sum; unknown only when neither is known. */
export function addCells(a: Cell, b: Cell): Cell {
  if (a === undefined) return b;
  if (b === undefined) return a;
  if (typeof a === 'number' && typeof b === 'number' && a + b <= Number.MAX_SAFE_INTEGER) return a + b;
  return BigInt(a) + BigInt(b);
}

/** Exact difference, never below 0. */
export function subtractCells(a: Cell, b: Cell): Cell {
  if (a === undefined || b === undefined) return a;
  if (typeof a === 'number' && typeof b === 'number') return Math.max(0, a - b);
  const left = BigInt(a) - BigInt(b);
  return left > 0n ? left : 0n;
}

/** The greater of two; unknown only when neither is known. */
export function greaterCell(a: Cell, b: Cell): Cell {
  if (a === undefined) return b;
  return b === undefined || a >= b ? a : b;
}

/** The cells of one thing over the attempts of its run: what earlier attempts left, and the one that goes on. */
export class Figures {
  readonly #shown: readonly Shown[];
  #earlier: Cells | null = null;
  #source: Totals | null = null;
  #sourceMask = 0;
  cells: Cells;

  constructor(shown: readonly Shown[]) {
    this.#shown = shown;
    this.cells = shown.map(() => undefined);
  }

  /**
   * Takes the attempt's totals of now; free of charge when they are the same object as before. What was never measured
   * (nothing is known of it) used nothing: its counters are 0 where the run's own are known, so that series begin at 0.
   */
  update(totals: Totals, runMask: number): void {
    if (totals === this.#source && runMask === this.#sourceMask) return;
    this.#source = totals;
    this.#sourceMask = runMask;
    const known = totals.knownMask;
    const zeros = known === 0 && totals.memoryBytes === undefined ? runMask : 0;
    for (let i = 0; i < this.#shown.length; i++) {
      const column = this.#shown[i]?.column;
      if (column === undefined) continue;
      if (column === null) this.#put(i, totals.memoryBytes);
      else if ((known & (1 << column.index)) !== 0) this.#put(i, readColumn(totals, column));
      else this.#put(i, column.kind === 'counter' && (zeros & (1 << column.index)) !== 0 ? 0 : undefined);
    }
  }

  /** The same, of cells that were worked out elsewhere. */
  take(own: Cells): void {
    for (let i = 0; i < this.#shown.length; i++) this.#put(i, own[i]);
  }

  /** The attempt is over: what it counted stays, what it held is gone. */
  endAttempt(): void {
    this.#earlier = this.cells.map((cell, i) => (this.#shown[i]?.column === null ? undefined : cell));
    this.cells = [...this.#earlier];
    this.#source = null;
  }

  #put(index: number, own: Cell): void {
    const shown = this.#shown[index];
    // A counter that was shown stays, even one that was only taken to be 0 and turned out not to be known.
    if (own === undefined && shown?.gauge === false) return;
    const earlier = this.#earlier?.[index];
    this.cells[index] = shown?.sums ? addCells(earlier, own) : greaterCell(earlier, own);
  }
}
