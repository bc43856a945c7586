// What the HTTP server counts of itself, in the agent's registry.

import type { AgentRegistry, Counter } from '../metrics/registry.js';

export function httpCounters(registry: AgentRegistry): { refusals: Counter; responses: Counter } {
  return {
    refusals: registry.counter({
      name: 'lezea_agent_http_refusals_total',
      help:
        'HTTP requests refused by the guard (host, origin, method), and connections closed for want of room (connections) ' +
        'or of a request (head: too big, timeout, malformed, pipelined).',
      labels: ['reason'],
    }),
    responses: registry.counter({
      name: 'lezea_agent_http_responses_total',
      help: 'HTTP answers by status code.',
      labels: ['code'],
    }),
  };
}
