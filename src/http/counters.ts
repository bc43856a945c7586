// What the HTTP server counts of itself, in the agent's registry.

import type { AgentRegistry, Counter } from '../metrics/registry.js';

export function httpCounters(registry: AgentRegistry): { refusals: Counter; responses: Counter } {
  return {
    refusals: registry.counter({
      name: 'lezea_agent_http_refusals_total',
      help:
        'HTTP requests refused by the guard (host, origin, method) or by the web configuration (unauthorized, busy, rate), ' +
        'and connections closed for want of room (connections), of a request (head: too big, timeout, malformed, ' +
        'pipelined), of TLS (handshake) or of a certificate (client_certificate).',
      labels: ['reason'],
    }),
    responses: registry.counter({
      name: 'lezea_agent_http_responses_total',
      help: 'HTTP answers by status code.',
      labels: ['code'],
    }),
  };
}
