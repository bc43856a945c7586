// Gets a run's files from the agent, piece by piece over the socket. Reads `run.get`; owns nothing.

import type { AgentConnection } from '../client/connection.js';
import { LezeaError } from '../errors.js';
import { SUMMARY_FILE } from '../files/run-files.js';
import type { SummaryDocument } from '../files/summary-document.js';

interface Piece {
  offset: number;
  size: number;
  /** base64 */
  data: string;
  eof: boolean;
}

/** Largest file that is taken from an agent, bytes. */
const MAX_BYTES = 1 << 30;

/** A run's summary document; of a running one, as it is now. */
export async function fetchSummary(connection: AgentConnection, runId: string): Promise<SummaryDocument> {
  try {
    return parse(await fetchFile(connection, runId, SUMMARY_FILE));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    // The run ended between two pieces: its file has replaced what was being read.
    return parse(await fetchFile(connection, runId, SUMMARY_FILE));
  }
}

function parse(text: Buffer): SummaryDocument {
  return JSON.parse(text.toString()) as SummaryDocument;
}

/** One file of a run, whole. */
export async function fetchFile(connection: AgentConnection, runId: string, file: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let offset = 0;
  for (;;) {
    const piece = await connection.request<Piece>('run.get', { run_id: runId, file, offset });
    const data = Buffer.from(piece.data, 'base64');
    pieces.push(data);
    offset += data.length;
    if (piece.eof) return Buffer.concat(pieces);
    if (data.length === 0 || offset > MAX_BYTES) {
      throw new LezeaError('protocol', `${file}: the agent sent ${offset} bytes of it and no end`);
    }
  }
}
