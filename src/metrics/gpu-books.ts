// What became of what each GPU spent: the books in which the parts sum to the device's own counters. Reads the sampler's
// books; emits families.

import type { GpuBooks, GpuLine } from '../native/addon.js';
import type { FamilyHeader } from './encoder.js';
import type { Figure } from './registry.js';

const LABELS = ['gpu', 'to'];

const ENERGY: FamilyHeader = {
  name: 'lezea_gpu_attributed_energy_joules_total',
  type: 'counter',
  labels: LABELS,
  help:
    'Energy of the GPU since the agent began, by whom it was given to: `runs`, `others` (processes in no run), `nobody`; ' +
    'together what its counter said.',
};

const ACTIVE: FamilyHeader = {
  name: 'lezea_gpu_attributed_active_seconds_total',
  type: 'counter',
  labels: LABELS,
  help: 'Utilisation of the GPU integrated over time since the agent began, by whom it was given to.',
};

export const GPU_BOOK_FAMILIES: readonly FamilyHeader[] = [ENERGY, ACTIVE];

const TO = ['runs', 'others', 'nobody'] as const;

/** Of what is not measured there is nothing. */
export function gpuBookFamilies(books: readonly GpuBooks[]): { header: FamilyHeader; figures: Figure[] }[] {
  const figures = (of: (line: GpuLine) => bigint | undefined, scale: number): Figure[] =>
    books.flatMap((book) =>
      TO.flatMap((to) => {
        const value = of(book[to]);
        return value === undefined ? [] : [{ labels: { gpu: book.uuid, to }, value: Number(value) / scale }];
      }),
    );
  return [
    { header: ENERGY, figures: figures((line) => line.energyUj, 1e6) },
    { header: ACTIVE, figures: figures((line) => line.activeNs, 1e9) },
  ].filter((family) => family.figures.length > 0);
}
