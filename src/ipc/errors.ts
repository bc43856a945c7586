// Errors on the wire: a JSON-RPC code for libraries and a stable word for programs. Owns the table.

import { LezeaError, messageOf } from '../errors.js';

/** Words that clients may rely on, with what they mean. */
export const ERROR_WORDS = {
  not_authorized: 'the caller may not do this',
  unknown_run: 'no such run, or it belongs to another owner',
  run_ended: 'the run has ended',
  unknown_delivery: 'no such delivery, or it belongs to another owner',
  already_bound: 'the process has a session of its own in another run',
  clock_mismatch: 'the client’s CLOCK_MONOTONIC is not the agent’s',
  invalid_params: 'a parameter is missing or not what it should be',
  too_large: 'the request or a part of it is too long',
  too_many: 'a limit is reached; the message names it',
  over_budget: 'a budget is used up, and the run asked not to begin then',
  unsupported: 'not offered by this agent',
} as const;

export type ErrorWord = keyof typeof ERROR_WORDS;

export const RPC = {
  parse: -32700,
  invalidRequest: -32600,
  unknownMethod: -32601,
  invalidParams: -32602,
  internal: -32603,
  refused: -32000,
} as const;

export interface RpcError {
  code: number;
  message: string;
  data?: { code: string };
}

function isWord(code: string): code is ErrorWord {
  return Object.hasOwn(ERROR_WORDS, code);
}

/** What the client is told of an error; undefined: a fault of ours, told as `internal` without details. */
export function rpcErrorOf(error: unknown): RpcError | undefined {
  if (!(error instanceof LezeaError) || !isWord(error.code)) return undefined;
  const code = error.code === 'invalid_params' ? RPC.invalidParams : RPC.refused;
  return { code, message: messageOf(error), data: { code: error.code } };
}

export const INTERNAL_ERROR: RpcError = {
  code: RPC.internal,
  message: 'the agent failed to answer; its log says why',
  data: { code: 'internal' },
};
