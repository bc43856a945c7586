// What run="(other)" stands for, over restarts of the agent: which runs are folded into it, and what those that are gone
// have left. Without it the series would begin again at what the living ones have, and a lower value that is not 0 counts
// as new use. Owns the file STATE_DIR/other-runs.json.

import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const remembered = z.object({
  /** Keys of runs. */
  folded: z.array(z.string()),
  /** Native integers by column, decimal. */
  departed: z.record(z.string(), z.string().regex(/^\d{1,40}$/)),
  /** The last attempt that is in `departed`, by the key of its run. */
  gone: z.record(z.string(), z.number().int().positive()).default({}),
});

export type OtherRuns = z.infer<typeof remembered>;

export interface OtherRunsStore {
  read(): OtherRuns;
  write(now: OtherRuns): void;
}

const NOTHING: OtherRuns = { folded: [], departed: {}, gone: {} };

export function otherRunsFile(stateDir: string): OtherRunsStore {
  const path = join(stateDir, 'other-runs.json');
  return {
    read: () => parse(readIfThere(path)),
    write: (now) => {
      // Written when a run is folded or gone, before that is shown: a crash in between shows nothing twice.
      const fresh = `${path}.${process.pid}`;
      writeFileSync(fresh, JSON.stringify(now), { mode: 0o600 });
      renameSync(fresh, path);
    },
  };
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A file that is none of ours is as none: the series begins anew. */
function parse(text: string | undefined): OtherRuns {
  if (text === undefined) return NOTHING;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return NOTHING;
    throw error;
  }
  const known = remembered.safeParse(value);
  return known.success ? known.data : NOTHING;
}
