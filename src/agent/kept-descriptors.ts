// What the service manager kept of the agent before, and passes to this one (sd_listen_fds(3), FDSTORE in sd_notify(3)): how many
// descriptors, by which names. Takes LISTEN_* out of the environment, so that no child takes them for its own.

export interface KeptDescriptors {
  /** NOTIFY_SOCKET: where it is told what to keep of this agent. */
  address: string;
  /** One for each descriptor from 3 on, in order. */
  names: string[];
}

/** Before ServiceManager.of, which takes NOTIFY_SOCKET. Undefined where nobody keeps anything. */
export function keptDescriptors(env: NodeJS.ProcessEnv, pid: number): KeptDescriptors | undefined {
  const { NOTIFY_SOCKET: address, LISTEN_PID: to, LISTEN_FDS: count, LISTEN_FDNAMES: names } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  if (!address) return undefined;
  const passed = to === String(pid) && /^[1-9]\d{0,5}$/.test(count ?? '') ? Number(count) : 0;
  const known = (names ?? '').split(':');
  return { address, names: Array.from({ length: passed }, (_, i) => known[i] ?? '') };
}
