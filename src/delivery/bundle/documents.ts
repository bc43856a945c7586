// Which documents an item brings: wherever in its body there is an object with path, bytes and sha256. Pure.

import type { DocumentFile } from '../model.js';

/** Throws SyntaxError for a body that is no JSON. */
export function documentsOf(body: string): DocumentFile[] {
  const found: DocumentFile[] = [];
  const waiting: unknown[] = [JSON.parse(body)];
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    if (typeof value !== 'object' || value === null) continue;
    if (isDocument(value)) found.push({ path: value.path, bytes: value.bytes, sha256: value.sha256 });
    for (const inner of Object.values(value)) if (typeof inner === 'object') waiting.push(inner);
  }
  return found;
}

function isDocument(value: object): value is DocumentFile {
  const { path, bytes, sha256 } = value as Record<string, unknown>;
  return typeof path === 'string' && typeof bytes === 'number' && typeof sha256 === 'string';
}
