// What a client wants to get: which exposition format, and whether compressed. Reads header values; owns nothing.

import type { ExpositionFormat } from '../metrics/encoder.js';

interface Preference {
  value: string;
  params: Map<string, string>;
  quality: number;
}

/** The entries of an Accept-like header with their q, at most 64 of them. */
function preferences(header: string): Preference[] {
  return header
    .split(',', 64)
    .map((entry) => {
      const [value = '', ...rest] = entry.split(';').map((part) => part.trim());
      const params = new Map<string, string>();
      for (const param of rest) {
        const at = param.indexOf('=');
        if (at > 0)
          params.set(
            param.slice(0, at).trim().toLowerCase(),
            param
              .slice(at + 1)
              .replaceAll('"', '')
              .trim(),
          );
      }
      const quality = params.has('q') ? Number(params.get('q')) : 1;
      return { value: value.toLowerCase(), params, quality: quality >= 0 && quality <= 1 ? quality : 0 };
    })
    .filter((entry) => entry.value !== '');
}

/** OpenMetrics where it is asked for by name and not less than text; text in every other case. */
export function expositionFormat(accept: string | undefined): ExpositionFormat {
  let open = 0;
  let text = 0;
  for (const { value, params, quality } of preferences(accept ?? '')) {
    const version = params.get('version');
    if (value === 'application/openmetrics-text') {
      if (version === undefined || version === '1.0.0' || version === '0.0.1') open = Math.max(open, quality);
    } else if (value === 'text/plain') {
      if (version === undefined || version === '0.0.4') text = Math.max(text, quality);
    }
  }
  return open > 0 && open >= text ? 'openmetrics' : 'text';
}

/** Whether an answer may be compressed with gzip. */
export function acceptsGzip(acceptEncoding: string | undefined): boolean {
  const entries = preferences(acceptEncoding ?? '');
  const named = entries.find(({ value }) => value === 'gzip') ?? entries.find(({ value }) => value === '*');
  return named !== undefined && named.quality > 0;
}
