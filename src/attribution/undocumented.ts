// Ended runs whose documents could not be written when they ended: they are written later, and what is to be delivered of
// them with them. Owns nothing; the run's record remembers it.

import type { Logger } from 'pino';
import { messageOf, StoppingError } from '../errors.js';
import type { Ledger } from './ledger.js';
import type { Run } from './model.js';
import type { Persistence } from './records.js';
import type { Registry } from './registry.js';

/** Runs that are tried in one go. */
const MAX_TOGETHER = 100;

export interface UndocumentedOptions {
  persistence: Pick<Persistence, 'undocumented'>;
  registry: Registry;
  ledger: Ledger;
  log: Logger;
  checkpoint(how: { durable: boolean }): Promise<void>;
  writeFiles(run: Run): Promise<void>;
  /** Keeps the documents to be delivered, for the run's places. */
  prepareDocuments(run: Run): Promise<void>;
}

/** How many were written. The first that cannot be ends it: the others lie on the same disk. */
export async function writeUndocumented(options: UndocumentedOptions): Promise<number> {
  let written = 0;
  for (const { key, attempt } of options.persistence.undocumented(MAX_TOGETHER)) {
    try {
      if (await writeOne(options, key, attempt)) written += 1;
    } catch (error) {
      if (error instanceof StoppingError) break;
      const line = { run: key, attempt, reason: messageOf(error) };
      options.log.warn(line, "a run's documents still cannot be written");
      break;
    }
  }
  if (written > 0)
    options.log.info({ runs: written }, 'documents that could not be written before are there');
  return written;
}

async function writeOne(options: UndocumentedOptions, key: string, attempt: number): Promise<boolean> {
  const { registry, ledger } = options;
  const run = registry.byKey(key, attempt);
  if (!run?.record.undocumented) return false;
  await options.writeFiles(run);
  // A tracker has one run for all attempts: the newest brings the documents of each. A live one does so when it ends.
  const newest = registry.byKey(key) ?? run;
  if (!newest.isLive) await options.prepareDocuments(newest);
  delete run.record.undocumented;
  // With the record, what was prepared becomes ready.
  for (const each of new Set([run, newest])) if (!each.isLive) ledger.runChanged(each);
  await options.checkpoint({ durable: true });
  return true;
}
