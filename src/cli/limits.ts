// A run's limits as text: what each is, what is used of it and what is left. Reads a summary document; pure.

import { keyText, type LimitKey } from '../attribution/run-limits.js';
import type { SummaryDocument, SummaryLimit } from '../files/summary-document.js';
import { formatBytes, formatSeconds, formatTable } from './format.js';

/** Empty where nothing is limited. */
export function formatLimits({ limits }: Pick<SummaryDocument, 'limits'>): string {
  if (!limits) return '';
  const rows = Object.values(limits).map((limit) => [
    keyText(limit as LimitKey),
    amount(limit, limit.value),
    amount(limit, limit.used),
    amount(limit, limit.remaining),
    limit.ratio === undefined ? '-' : `${(100 * limit.ratio).toFixed(1)} %`,
    limit.state,
  ]);
  const right = (title: string) => ({ title, align: 'right' as const });
  const titles = [{ title: 'LIMIT' }, ...['IS', 'USED', 'LEFT', ''].map(right), { title: '' }];
  return formatTable(titles, rows);
}

function amount({ limit }: SummaryLimit, value: number | undefined): string {
  if (value === undefined) return '-';
  if (limit.endsWith('_bytes')) return formatBytes(value);
  if (limit === 'runtime_seconds') return formatSeconds(value);
  return String(Number(value.toPrecision(6)));
}
