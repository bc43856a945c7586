// What a client's tracker settings say about the MLflow run that is meant. Reads Target.settings; owns nothing.

import type { Target } from '../model.js';

/** Put on a run that we made, so that nobody makes it twice: the agent's key of the run. */
export const CREATED_TAG = 'lezea_monitor.created_for';

/** MLflow's own experiment, for runs that name none. */
const DEFAULT_EXPERIMENT = 'Default';

/** The MLflow run that the trainer has, one that is to be made, or nothing. */
export type WantedRun =
  | { by: 'id'; runId: string }
  | { by: 'creation'; experiment: string }
  | { by: 'nobody' };

export function wantedRun({ settings }: Target): WantedRun {
  const runId = settings.mlflow_run_id;
  if (runId) return { by: 'id', runId };
  if (settings.mlflow_create !== 'true') return { by: 'nobody' };
  return { by: 'creation', experiment: settings.mlflow_experiment || DEFAULT_EXPERIMENT };
}
