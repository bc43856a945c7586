// `agent`: the daemon, until it is told to stop. Hands flags and environment over to src/agent; errors at the start are one
// line each and exit code 2 for a bad configuration.

import { runAgent } from '../../agent/run-agent.js';

export interface AgentOptions {
  config?: string;
  listen?: string;
  'web.config.file'?: string;
  socket?: string;
  stateDir?: string;
  logLevel?: string;
  set?: string[];
}

export async function agentCommand(options: AgentOptions): Promise<number> {
  const status = await runAgent({ flags: options, env: process.env, uid: process.getuid?.() ?? -1 });
  // What did not stop within its budget must not keep the process: the state is that of the last checkpoint.
  process.exit(status);
}
