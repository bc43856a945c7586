// Which of a run's processes this one is, as its launcher says: torchrun, SLURM's srun, Open MPI's mpirun. Reads the
// environment; owns nothing.

/** What `run.start` is told, by the names of the wire. */
export interface Ranks {
  rank?: number;
  world_size?: number;
  local_world_size?: number;
}

interface Launcher {
  rank: string;
  world: string;
  /** How many processes are on this node. */
  local?: string;
  /** On how many nodes they are. */
  nodes?: string;
}

/** The innermost first: under srun, torchrun's word counts. */
const LAUNCHERS: readonly Launcher[] = [
  { rank: 'RANK', world: 'WORLD_SIZE', local: 'LOCAL_WORLD_SIZE' },
  { rank: 'OMPI_COMM_WORLD_RANK', world: 'OMPI_COMM_WORLD_SIZE', local: 'OMPI_COMM_WORLD_LOCAL_SIZE' },
  { rank: 'SLURM_PROCID', world: 'SLURM_NTASKS', nodes: 'SLURM_NNODES' },
];
/** As the protocol has it. */
const MOST = 10_000_000;

/** Nothing where no launcher set both rank and size; what is set and makes no sense is told to `warn`. */
export function ranksOf(env: NodeJS.ProcessEnv, warn: (text: string) => void): Ranks {
  const launcher = LAUNCHERS.find(({ rank, world }) => env[rank] && env[world]);
  if (!launcher) return {};
  const rank = countOf(env[launcher.rank], 0);
  const world = countOf(env[launcher.world], 1);
  if (rank === undefined || world === undefined || rank >= world) {
    const set = [launcher.rank, launcher.world].map((name) => `${name}=${JSON.stringify(env[name])}`);
    warn(`${set.join(' ')} are no rank and number of processes: ignored`);
    return {};
  }
  const local = localSize(env, launcher, world);
  return { rank, world_size: world, ...(local === undefined ? {} : { local_world_size: local }) };
}

function localSize(env: NodeJS.ProcessEnv, { local, nodes }: Launcher, world: number): number | undefined {
  if (local !== undefined) return countOf(env[local], 1);
  return nodes !== undefined && countOf(env[nodes], 1) === 1 ? world : undefined;
}

function countOf(text: string | undefined, least: number): number | undefined {
  if (text === undefined || !/^\d{1,8}$/.test(text)) return undefined;
  const count = Number(text);
  return count >= least && count <= MOST ? count : undefined;
}
