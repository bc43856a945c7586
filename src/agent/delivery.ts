// Delivery as the configuration asks for it: the sinks, and what the agent has to show to get in. Reads the files with
// secrets once, at the start; they stay in memory only.

import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { earlierAttempts, laterAttempts } from '../attribution/attempts.js';
import type { RunStore } from '../attribution/model.js';
import type { Config } from '../config/schema.js';
import { Deliveries } from '../delivery/deliveries.js';
import type { Credentials } from '../delivery/mlflow/server.js';
import { MlflowSink } from '../delivery/mlflow/sink.js';
import type { Target } from '../delivery/model.js';
import type { Outbox } from '../delivery/outbox.js';
import type { TargetRules } from '../delivery/targets.js';
import { signingKey } from '../delivery/webhook/signature.js';
import { WebhookSink } from '../delivery/webhook/sink.js';
import { LezeaError, messageOf } from '../errors.js';
import type { RunDocuments } from '../files/run-documents.js';
import { RunFolders } from '../files/run-folders.js';
import type { Logger } from '../log.js';
import { VERSION } from '../version.js';

export interface DeliveryParts {
  config: () => Config;
  outbox: Outbox;
  documents: RunDocuments;
  store: RunStore;
  log: Logger;
  now: () => number;
  /** Of the agent: MLFLOW_TRACKING_* as MLflow's own client reads them. */
  env: NodeJS.ProcessEnv;
}

/** The way to MLflow servers, with connections of its own, and to which of them. */
export function mlflowOf(parts: DeliveryParts): { sink: MlflowSink; rules: () => TargetRules } {
  const { config, documents, env } = parts;
  const { tracker } = config();
  const credentials = credentialsOf(tracker, env);
  const hasCredentials = credentials.username !== undefined || credentials.token !== undefined;
  const caFile = tracker.ca_file ?? env.MLFLOW_TRACKING_SERVER_CERT_PATH;
  const sink = new MlflowSink({
    version: VERSION,
    readFile: (run, path) => documents.whole(run, path),
    laterTrackers: ({ key, attempt }) =>
      laterAttempts(parts.store, key, attempt).map(({ tracker }) => tracker),
    credentials,
    ...(caFile ? { caFile } : {}),
    insecureTls: tracker.insecure_tls || env.MLFLOW_TRACKING_INSECURE_TLS === 'true',
    timeoutMs: tracker.timeout_seconds * 1000,
  });
  const rules = () => ({ mode: config().agent.mode, addresses: config().tracker.addresses, hasCredentials });
  return { sink, rules };
}

export function makeDeliveries(parts: DeliveryParts): Deliveries {
  const { config, outbox, documents, log, now } = parts;
  const { tracker } = config();
  const mlflow = mlflowOf(parts);
  const webhook = webhookOf(config().webhook, now);
  return new Deliveries({
    outbox,
    sinks: { mlflow: mlflow.sink, ...(webhook && { webhook: webhook.sink }) },
    ...(webhook && { everyRun: webhook.target }),
    offline: tracker.mode === 'offline',
    rules: mlflow.rules,
    node: hostname(),
    log,
    nowMs: now,
    closeDeadRuns: () => config().tracker.close_dead_runs,
    documents: (run) => documents.facts(run),
    fingerprints: (run) => documents.fingerprints(run),
    facts: (run) => parts.store.facts(run),
    earlier: (run) => earlierAttempts(parts.store, run),
    folders: new RunFolders(config().state.dir),
    courier: waits(tracker),
  });
}

/** A place that lets nobody in has to be told so by a person: it is asked less often. */
function waits({ retry_first_ms: firstMs, retry_most_ms: mostMs }: Config['tracker']) {
  return { limits: { firstMs, mostMs }, refusedMs: 2 * mostMs };
}

/** Undefined where it is switched off: what waits for it waits. */
function webhookOf(
  { enabled, url, secret_file, ca_file, timeout_seconds }: Config['webhook'],
  nowMs: () => number,
): { sink: WebhookSink; target: Target } | undefined {
  if (!enabled || url === null) return undefined;
  const sink = new WebhookSink({
    version: VERSION,
    address: url,
    key: signingKey(secret(secret_file, 'webhook') ?? ''),
    ...(ca_file !== null && { caFile: ca_file }),
    timeoutMs: timeout_seconds * 1000,
    nowMs,
  });
  return { sink, target: { kind: 'webhook', address: url, settings: {} } };
}

/** Throws LezeaError where a file cannot be read: sending without what it holds would be refused anyway. */
function credentialsOf(tracker: Config['tracker'], env: NodeJS.ProcessEnv): Credentials {
  const username = tracker.username ?? env.MLFLOW_TRACKING_USERNAME;
  const password = secret(tracker.password_file, 'tracker') ?? env.MLFLOW_TRACKING_PASSWORD;
  const token = secret(tracker.token_file, 'tracker') ?? env.MLFLOW_TRACKING_TOKEN;
  if (username && password) return { username, password };
  return token ? { token } : {};
}

function secret(path: string | null, section: 'tracker' | 'webhook'): string | undefined {
  if (path === null) return undefined;
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new LezeaError(
      'invalid_config',
      `${section}: ${messageOf(error)}; expected a file that the agent can read`,
      {
        cause: error,
      },
    );
  }
}
