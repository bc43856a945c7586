// The agent as a process: configuration, log, signals, service manager, exit status. SIGTERM and SIGINT stop it, a second
// one at once; SIGHUP reads the configuration again and keeps the old one if the new one is invalid.

import type { LoadInput } from '../config/load.js';
import { ConfigStore } from '../config/store.js';
import { LezeaError, messageOf } from '../errors.js';
import { createLogger, type Logger } from '../log.js';
import { type Addon, loadAddon } from '../native/addon.js';
import { Agent } from './agent.js';
import { keptDescriptors } from './kept-descriptors.js';
import { ServiceManager } from './service-manager.js';

/** Longest time that stopping may take; what is not flushed by then is taken up from the last checkpoint. */
const STOP_BUDGET_MS = 10_000;

const CONFINED = 'the sampling thread alone has the capabilities of this process';

/** Runs until it is told to stop; resolves to the exit status. Throws LezeaError where it cannot start. */
export async function runAgent(input: LoadInput): Promise<number> {
  const addon = addonOrReason();
  // Before anything else happens: what the service was given is the sampling thread's alone.
  const capabilities = confine(addon);
  const kept = keptDescriptors(input.env, process.pid);
  if (kept) addon.guardPassedDescriptors(kept.names.length);
  const store = new ConfigStore(input);
  const log = createLogger({ level: store.current.log.level, env: input.env });
  if (capabilities !== 0n) log.info({ mask: `0x${capabilities.toString(16)}` }, CONFINED);
  const manager = ServiceManager.of({
    env: input.env,
    pid: process.pid,
    send: (address, message) => addon.notifyService(address, message),
    monotonicNs: () => addon.monotonicNs(),
    log,
  });
  // Before the start: whoever reads "ready" may signal at once.
  process.on('SIGHUP', () => {
    if (manager) manager.reload(() => reload(store, log));
    else reload(store, log);
  });
  const stopped = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
  const agent = await Agent.start({ addon, config: () => store.current, log, now: () => Date.now(), kept });
  manager?.ready(agent.watched);
  log.info({ signal: await stopped }, 'stopping');
  manager?.stopping();
  await stopInTime(agent, log);
  return 0;
}

async function stopInTime(agent: Agent, log: Logger): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      log.warn(
        { budget_ms: STOP_BUDGET_MS },
        'stopping took too long; the next start goes on from the last checkpoint',
      );
      resolve();
    }, STOP_BUDGET_MS);
  });
  // A fault was logged where it happened; the state is that of the last checkpoint, which is what it is for.
  await Promise.race([agent.stop().catch(() => undefined), late]);
  clearTimeout(timer);
}

/** Why the old configuration stays in force, in a line; empty where the new one is. */
function reload(store: ConfigStore, log: Logger): string {
  const { error, applied, waiting } = store.reload();
  if (error) {
    log.error({ problems: error.problems }, 'the new configuration is invalid; the old one stays in force');
    const [first, ...others] = error.problems;
    const more = others.length > 0 ? ` (and ${others.length} more)` : '';
    return `the configuration on the disk is invalid, an earlier one is in force: ${first}${more}`;
  }
  log.level = store.current.log.level;
  log.info({ applied, waiting_for_restart: waiting }, 'the configuration was read again');
  return '';
}

function confine(addon: Addon): bigint {
  try {
    return addon.confineCapabilities();
  } catch (error) {
    throw new LezeaError('capabilities', `capabilities: ${messageOf(error)}; expected one thread with them`, {
      cause: error,
    });
  }
}

function addonOrReason(): Addon {
  try {
    return loadAddon();
  } catch (error) {
    if (error instanceof LezeaError) throw error;
    throw new LezeaError('addon', `native addon: ${messageOf(error)}; expected one built by npm ci`, {
      cause: error,
    });
  }
}
