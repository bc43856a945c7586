// What the scopes of one run had of each GPU: a row for each scope and device that it ever used. Owns the rows, which are
// stored in pages of their own, and which device a number in them means.

import type { Slot } from '../native/addon.js';
import { FRAME_WORDS } from '../native/frame.js';
import { Rows, RowTable } from './rows.js';
import { Totals } from './totals.js';

/** Pages of these rows are numbered from here on: a run has no more of the others. */
export const FIRST_GPU_PAGE = 1 << 24;

/** Of a scope, by UUID of the device, in the order in which it began to use them. */
export type ByGpu = ReadonlyMap<string, Totals>;

const NONE: ByGpu = new Map();

export class GpuRows {
  readonly rows = new RowTable();
  /** Places among the rows by slot and the device's number. */
  readonly #places = new Map<Slot, Map<number, number>>();
  /** By place: whose it is. */
  readonly #slots: Slot[] = [];
  readonly #uuids: string[] = [];
  /** As committed; another map whenever something in it changed. */
  readonly #bySlot = new Map<Slot, ByGpu>();

  /** The place of a row, a new one where it is the first; `uuid` is what the device's number means. */
  place(slot: Slot, gpu: number, uuid: string): number {
    let ofSlot = this.#places.get(slot);
    if (!ofSlot) {
      ofSlot = new Map();
      this.#places.set(slot, ofSlot);
    }
    let place = ofSlot.get(gpu);
    if (place === undefined) {
      place = this.rows.add();
      ofSlot.set(gpu, place);
      this.#slots[place] = slot;
      this.#uuids[place] = uuid;
    }
    return place;
  }

  /** Shows a row as it was stored. */
  load(slot: Slot, gpu: number, uuid: string, row: BigUint64Array): void {
    const place = this.place(slot, gpu, uuid);
    this.rows.load(place, row);
    this.#show(place);
  }

  /** Shows the rows that were just committed; returns how many of them would have gone down. */
  publish(): number {
    let decreases = 0;
    this.rows.publish((place, decreased) => {
      if (decreased) decreases += 1;
      this.#show(place);
    });
    return decreases;
  }

  of(slot: Slot): ByGpu {
    return this.#bySlot.get(slot) ?? NONE;
  }

  /** As they are now, whatever is published later. */
  frozen(): (slot: Slot) => ByGpu {
    const { words } = this.rows.committed;
    const rows = new Rows(words.length / FRAME_WORDS);
    rows.words.set(words);
    const shown = new Map<Slot, ByGpu>();
    for (const slot of this.#bySlot.keys()) {
      const places = [...(this.#places.get(slot)?.values() ?? [])];
      const known = places.filter((place) => this.of(slot).has(this.#uuids[place] ?? ''));
      shown.set(slot, new Map(known.map((place) => [this.#uuids[place] ?? '', new Totals(rows, place)])));
    }
    return (slot) => shown.get(slot) ?? NONE;
  }

  #show(place: number): void {
    const slot = this.#slots[place] ?? 0;
    const uuid = this.#uuids[place] ?? '';
    this.#bySlot.set(slot, new Map(this.of(slot)).set(uuid, new Totals(this.rows.committed, place)));
  }
}
