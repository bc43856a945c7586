// The items of a webhook delivery: each the lines of one request, as a JSON array. Owns how they are cut, and what is sent
// of them. A body is written once and never changed, so that what is sent is the same bytes every time.

import { z } from 'zod';
import { type Draft, type EndedRun, type Item, SendError } from '../model.js';
import { LINE_SCHEMA, type Line, linesOf } from './lines.js';

/** An item has to fit into an answer on the agent's socket. No line is longer: what a run may say of itself is bounded. */
const MAX_BODY_BYTES = 40 * 1024;
const KIND = 'lines';

/** An imported delivery is somebody's file: what it says is looked at before it is signed. */
const BODY = z.array(z.looseObject({ schema: z.literal(LINE_SCHEMA), type: z.string() })).min(1);

/** The lines of a run in as few items as can be. */
export function* planRun(run: EndedRun): Generator<Draft> {
  let texts: string[] = [];
  // Of the brackets; every line has a comma, or the place of one.
  let bytes = 1;
  for (const line of linesOf(run)) {
    const text = JSON.stringify(line);
    const more = Buffer.byteLength(text) + 1;
    if (texts.length > 0 && bytes + more > MAX_BODY_BYTES) {
      yield draft(texts);
      texts = [];
      bytes = 1;
    }
    texts.push(text);
    bytes += more;
  }
  yield draft(texts);
}

/** An item in two halves; [] for a single line. */
export function splitItem(item: Item): Draft[] {
  const texts = read(item)?.map((line) => JSON.stringify(line)) ?? [];
  if (texts.length < 2) return [];
  const middle = Math.ceil(texts.length / 2);
  return [draft(texts.slice(0, middle)), draft(texts.slice(middle))];
}

/** The bytes that are sent: JSON Lines. Throws SendError where the item does not say what such an item says. */
export function wireOf(item: Item): Buffer {
  const lines = read(item);
  if (!lines) throw new SendError('poison', `item ${item.id} does not say what an item of a webhook says`);
  // JSON that was read and is written again is the same text: it was written by the same rules.
  return Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

/** As they were written: zod would put the keys that it knows first. */
function read({ kind, body }: Item): Line[] | undefined {
  if (kind !== KIND) return undefined;
  try {
    const lines: unknown = JSON.parse(body);
    return BODY.safeParse(lines).success ? (lines as Line[]) : undefined;
  } catch {
    return undefined; // no JSON
  }
}

function draft(texts: readonly string[]): Draft {
  return { stage: 0, kind: KIND, body: `[${texts.join(',')}]` };
}
