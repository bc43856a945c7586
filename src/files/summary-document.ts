// The shape of a run's document, resources/summary.json, as types: what its schema says (summary-schema.ts, docs/schemas/).
// Nothing of the schema is loaded by who only needs the types.

import type { z } from 'zod';
import type * as schema from './summary-schema.js';

export const SUMMARY_SCHEMA = 'lezea.resources/v1';

export type SummaryDocument = z.infer<typeof schema.summary>;
/** The document without its long lists: what comes before the scopes. */
export type SummaryHead = z.infer<typeof schema.head>;
/** What comes after the scopes. */
export type SummaryTail = z.infer<typeof schema.tail>;
export type SummaryAgent = z.infer<typeof schema.agent>;
export type SummaryNode = z.infer<typeof schema.node>;
export type SummaryEnvironment = z.infer<typeof schema.environment>;
/** How a limit of the run, of one of its scopes or of its experiment stands. */
export type SummaryLimit = z.infer<typeof schema.limit>;
export type SummaryPhase = z.infer<typeof schema.phase>;
export type SummaryScope = z.infer<typeof schema.scope>;
/** What the run had of one GPU. */
export type SummaryGpu = z.infer<typeof schema.gpu>;
export type SummaryTotal = z.infer<typeof schema.total>;
/** One column's sum, in native integers as decimal strings: they pass 2^53. */
export type SummaryConservation = z.infer<typeof schema.conservation>;
/** How a process ended. */
export type SummaryExit = NonNullable<z.infer<typeof schema.endedProcess>['exit']>;
/** One ended process, or the sum over those that are not listed one by one (`rest`). */
export type SummaryProcess = z.infer<typeof schema.endedProcess> | z.infer<typeof schema.restOfProcesses>;

/** The same of several nodes. */
export type MergedSummary = z.infer<typeof schema.mergedSummary>;
/** A figure of all nodes together. */
export type MergedTotal = z.infer<typeof schema.mergedTotal>;
