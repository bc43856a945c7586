// From a line to a handler and back: JSON, JSON-RPC envelope, parameters by their schema, answer or error. Owns no state;
// nothing a client sends may throw past here.

import type { Logger } from 'pino';
import { z } from 'zod';
import type { Limiter } from '../attribution/limits.js';
import { LezeaError, messageOf, StoppingError } from '../errors.js';
import type { Connection } from './connection.js';
import { INTERNAL_ERROR, RPC, type RpcError, rpcErrorOf } from './errors.js';
import type { Line } from './framing.js';
import { DEAR_TOKENS, METHODS, type Method, type MethodName, type Params, type Result } from './protocol.js';

export type Handlers = {
  [M in MethodName]: (connection: Connection, params: Params<M>) => Result<M> | Promise<Result<M>>;
};

const envelope = z.object({
  jsonrpc: z.literal('2.0'),
  id: z.union([z.string().max(128), z.number()]).optional(),
  method: z.string().max(128),
  params: z.record(z.string(), z.unknown()).default({}),
});

type Id = string | number | undefined;

interface Call {
  id: Id;
  method: MethodName;
  params: Record<string, unknown>;
}

export class Dispatcher {
  readonly #handlers: Handlers;
  readonly #limiter: Limiter;
  readonly #log: Logger;
  #stopping = false;
  /** Requests and notifications handled, and those answered with an error (or that would have been), by its word. */
  requests = 0;
  readonly errors = new Map<string, number>();

  constructor(handlers: Handlers, limiter: Limiter, log: Logger) {
    this.#handlers = handlers;
    this.#limiter = limiter;
    this.#log = log;
  }

  /** From now on nothing that comes is taken up: what is answered is in the last checkpoint. */
  stop(): void {
    this.#stopping = true;
  }

  handle(connection: Connection, line: Line): void {
    if (this.#stopping) return;
    this.requests += 1;
    const call = this.#parse(connection, line);
    if (call) this.#call(connection, call);
  }

  /** The call that a line is; undefined for none, which has been answered. */
  #parse(connection: Connection, line: Line): Call | undefined {
    if (line === undefined) {
      const fault = this.#limiter.sizeFault('requestBytes', Number.POSITIVE_INFINITY);
      const data = { code: 'too_large' };
      this.#fail(connection, null, { code: RPC.invalidRequest, message: messageOf(fault), data });
      return undefined;
    }
    const parsed = parseJson(line);
    if (!parsed) {
      this.#fail(connection, null, { code: RPC.parse, message: 'not a line of JSON' });
      return undefined;
    }
    const request = envelope.safeParse(parsed.value);
    if (!request.success) {
      const message = `not a JSON-RPC 2.0 request: ${describe(request.error)}`;
      this.#fail(connection, idOf(parsed.value), { code: RPC.invalidRequest, message });
      return undefined;
    }
    const { id, method, params } = request.data;
    if (!Object.hasOwn(METHODS, method)) {
      const message = `no method ${JSON.stringify(method)}`;
      this.#fail(connection, id, { code: RPC.unknownMethod, message, data: { code: 'unsupported' } });
      return undefined;
    }
    return { id, method: method as MethodName, params };
  }

  #call(connection: Connection, call: Call): void {
    const { dear, alone }: Method = METHODS[call.method];
    if (dear) connection.spend(DEAR_TOKENS);
    try {
      const result = this.#invoke(connection, call.method, call.params);
      if (result instanceof Promise) {
        const answered = result.then(
          (value) => this.#answer(connection, call.id, value),
          (error) => this.#caught(connection, call, error),
        );
        void connection.during(answered, alone === true);
      } else {
        this.#answer(connection, call.id, result);
      }
    } catch (error) {
      this.#caught(connection, call, error);
    }
  }

  #invoke<M extends MethodName>(connection: Connection, method: M, given: unknown) {
    const params = METHODS[method].params.safeParse(given);
    if (!params.success) throw this.#paramsFault(params.error);
    const handler = this.#handlers[method] as (
      connection: Connection,
      params: unknown,
    ) => Result<M> | Promise<Result<M>>;
    return handler(connection, params.data);
  }

  #paramsFault(error: z.ZodError): LezeaError {
    const issue = error.issues[0];
    const isLong = issue?.code === 'too_big' && ['string', 'array', 'record'].includes(issue.origin);
    if (!isLong) return new LezeaError('invalid_params', describe(error));
    this.#limiter.lose('fieldLength');
    return new LezeaError('too_large', `${describe(error)}: the limit fieldLength`);
  }

  #caught(connection: Connection, call: Call, error: unknown): void {
    // No answer is the answer: the connection closes next, and the client asks the next agent.
    if (error instanceof StoppingError) return;
    const told = rpcErrorOf(error);
    if (!told)
      this.#log.error({ method: call.method, reason: messageOf(error), err: error }, 'a request failed');
    this.#fail(connection, call.id, told ?? INTERNAL_ERROR);
  }

  #answer(connection: Connection, id: Id, result: unknown): void {
    if (id !== undefined) connection.send({ jsonrpc: '2.0', id, result });
  }

  /** `null`: it is not known whether an answer is awaited, so one is given; undefined: a notification. */
  #fail(connection: Connection, id: Id | null, error: RpcError): void {
    const word = error.data?.code ?? (error.code === RPC.parse ? 'not_json' : 'invalid_request');
    this.errors.set(word, (this.errors.get(word) ?? 0) + 1);
    if (id !== undefined) connection.send({ jsonrpc: '2.0', id, error });
  }
}

function parseJson(line: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(line) };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function idOf(value: unknown): string | number | null {
  const id = typeof value === 'object' && value !== null ? (value as { id?: unknown }).id : undefined;
  return typeof id === 'string' || typeof id === 'number' ? id : null;
}

/** The first thing wrong, in one line. */
function describe(error: z.ZodError): string {
  const issue = error.issues[0];
  if (!issue) return 'invalid';
  const path = issue.path.join('.');
  return path ? `${path}: ${issue.message}` : issue.message;
}
