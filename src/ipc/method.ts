// What a method of the protocol is made of. Owns nothing.

import type { z } from 'zod';

export interface Method {
  summary: string;
  /** What it may refuse with, beside `invalid_params` and `too_large`. */
  refuses: readonly string[];
  /** It makes the agent do much: it costs so many tokens more. */
  dear?: true;
  /** Its answers are big: one connection gets one at a time. */
  alone?: true;
  params: z.ZodObject;
  result: z.ZodType;
}

export function method<P extends z.ZodObject, R extends z.ZodType>(definition: {
  summary: string;
  refuses?: readonly string[];
  dear?: true;
  alone?: true;
  params: P;
  result: R;
}) {
  return { refuses: [], ...definition };
}
