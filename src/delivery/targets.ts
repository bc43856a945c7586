// Where a run's totals go, and who may bring them there: from the run's tracker settings and what the agent's
// configuration allows. Pure.

import { LezeaError } from '../errors.js';
import type { Target } from './model.js';
import type { Bearer } from './outbox.js';

/** The settings of `run.start` and `run.update` that mean something here. */
export const TRACKER_SETTINGS = {
  mlflow_tracking_uri:
    'Address of the MLflow server, or of a store that only the program itself can write to.',
  mlflow_run_id: 'The MLflow run that the totals go to.',
  mlflow_create: '`true`: make an MLflow run where `mlflow_run_id` is not set.',
  mlflow_experiment: 'Name of the experiment of a run that is made; default: the run’s experiment.',
  mlflow_credentials: '`client`: only the program itself has what the server asks for.',
  mlflow_artifact_uri: 'Where the MLflow run keeps its artifacts, where the program knows.',
} as const;

export interface TargetRules {
  mode: 'user' | 'system';
  /** Addresses that the agent may speak to whoever asks; in system mode to no other. */
  addresses: readonly string[];
  /** The agent has a user and password, or a token, of its own. */
  hasCredentials: boolean;
}

/** A place that totals go to, and who brings them. */
export interface Place {
  target: Target;
  bearer: Bearer;
  /** Who brings the documents. */
  documents: Bearer;
  /** Why it is not the agent alone. */
  reason?: string;
}

/** What a client is told of its run's tracker. */
export interface Standing {
  by: Bearer | 'nobody';
  reason?: string;
}

type Settings = Readonly<Record<string, string>>;

export function mlflowPlace(settings: Settings, rules: TargetRules): Place | undefined {
  const uri = settings.mlflow_tracking_uri;
  if (uri === undefined || missing(settings) !== undefined) return undefined;
  const reason = notForAgent(uri, settings, rules);
  const target: Target = { kind: 'mlflow', address: withoutSlash(uri), settings };
  if (reason !== undefined) return { target, bearer: 'client', documents: 'client', reason };
  const foreign = foreignArtifacts(settings);
  if (foreign === undefined) return { target, bearer: 'agent', documents: 'agent' };
  return { target, bearer: 'agent', documents: 'client', reason: foreign };
}

/** The agent writes through the server's artifact proxy; what lies elsewhere asks for credentials that it has not. */
function foreignArtifacts({ mlflow_artifact_uri: uri }: Settings): string | undefined {
  if (uri === undefined || /^mlflow-artifacts:/i.test(uri)) return undefined;
  return `only the program itself can write documents to ${uri}`;
}

/** Who asks for what another agent cut into items to be delivered. */
export interface Importer {
  privileged: boolean;
  /** A place of the configuration's own. */
  everyRun?: Target;
}

/**
 * Where an imported delivery goes, by the rules of this agent. Its items say what somebody wrote in a file: in system mode
 * they go out under the agent's own name, with its credentials or signature, only for those who may speak for it.
 */
export function importedPlace(target: Target, rules: TargetRules, importer: Importer): Place {
  const place =
    target.kind === 'mlflow' ? mlflowPlace(target.settings, rules) : webhookPlace(target, rules, importer);
  if (!place) throw wrong(`${target.address}: ${missing(target.settings) ?? 'no mlflow_tracking_uri'}`);
  const { address } = place.target;
  if (/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*@/i.test(address))
    throw wrong('an address with a user in it: expected none');
  const lent = rules.mode === 'system' && (rules.hasCredentials || target.kind === 'webhook');
  if (place.bearer === 'client' || !lent || importer.privileged) return place;
  return {
    ...place,
    bearer: 'client',
    documents: 'client',
    reason: 'the agent lends its name to what it measured itself only',
  };
}

function webhookPlace(target: Target, rules: TargetRules, { everyRun }: Importer): Place {
  const isOurs = everyRun?.kind === 'webhook' && everyRun.address === target.address;
  if (isOurs || (rules.mode === 'user' && /^https?:\/\//i.test(target.address)))
    return { target, bearer: 'agent', documents: 'agent' };
  return {
    target,
    bearer: 'client',
    documents: 'client',
    reason: `the agent's configuration does not name ${target.address}`,
  };
}

function wrong(message: string): LezeaError {
  return new LezeaError('invalid_params', message);
}

/** undefined: the run has said nothing of a tracker. */
export function standingOf(settings: Settings, rules: TargetRules): Standing | undefined {
  if (settings.mlflow_tracking_uri === undefined && settings.mlflow_run_id === undefined) return undefined;
  const place = mlflowPlace(settings, rules);
  if (!place) return { by: 'nobody', reason: missing(settings) ?? 'no mlflow_tracking_uri' };
  return place.reason === undefined ? { by: 'agent' } : { by: 'client', reason: place.reason };
}

function missing(settings: Settings): string | undefined {
  if (settings.mlflow_run_id !== undefined || settings.mlflow_create === 'true') return undefined;
  return 'no mlflow_run_id yet, and mlflow_create is not true';
}

function notForAgent(uri: string, settings: Settings, rules: TargetRules): string | undefined {
  if (!/^https?:\/\//i.test(uri)) return `only the program itself can write to ${uri}`;
  const listed = rules.addresses.some((address) => withoutSlash(address) === withoutSlash(uri));
  if (rules.mode === 'system' && !listed) return `the agent's tracker.addresses does not list ${uri}`;
  if (settings.mlflow_credentials === 'client' && !rules.hasCredentials) {
    return 'only the program itself has credentials for it';
  }
  return undefined;
}

function withoutSlash(address: string): string {
  return address.replace(/\/+$/, '');
}
