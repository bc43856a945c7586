// What this process's environment says of its experiment tracker, as it may be told to the agent: without user, password and
// any other secret. Reads MLFLOW_* variables, and whether MLflow's file of saved credentials is there.

import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Whoever has one of these talks to the tracker in a way that the agent cannot. */
const SECRETS = [
  'USERNAME',
  'PASSWORD',
  'TOKEN',
  'AUTH',
  'AWS_SIGV4',
  'INSECURE_TLS',
  'SERVER_CERT_PATH',
  'CLIENT_CERT_PATH',
];

/** The `tracker` of run.start; undefined where nothing is set. */
export function trackerOf(env: NodeJS.ProcessEnv): Record<string, string> | undefined {
  const { MLFLOW_TRACKING_URI: uri, MLFLOW_RUN_ID: runId } = env;
  if (!uri && !runId) return undefined;
  return {
    ...(uri ? { mlflow_tracking_uri: cleanAddress(uri) } : {}),
    ...(runId ? { mlflow_run_id: runId } : {}),
    ...(uri && hasCredentials(uri, env) ? { mlflow_credentials: 'client' } : {}),
  };
}

/** Without user, password, query and fragment; a store on the disk by its whole path. */
function cleanAddress(uri: string): string {
  const parts = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)/.exec(uri);
  if (parts) {
    const [, scheme, host = '', path = ''] = parts;
    return `${scheme}://${host.slice(host.lastIndexOf('@') + 1)}${path}`;
  }
  if (uri.startsWith('databricks') || /^(?!file:)[A-Za-z][A-Za-z0-9+.-]+:/.test(uri)) return uri;
  return pathToFileURL(resolve(uri.replace(/^file:/, ''))).href;
}

function hasCredentials(uri: string, env: NodeJS.ProcessEnv): boolean {
  if (/^[^/]*:\/\/[^/?#]*@/.test(uri)) return true;
  if (SECRETS.some((name) => env[`MLFLOW_TRACKING_${name}`])) return true;
  return existsSync(join(env.HOME ?? homedir(), '.mlflow', 'credentials'));
}
