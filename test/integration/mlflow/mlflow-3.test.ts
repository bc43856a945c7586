// The MLflow sink against a real server of the newest MLflow 3.

import { EVERY_WAY } from './programs.js';
import { mlflowSuite } from './suite.js';

mlflowSuite({ major: 3, together: 1000, budgetSeconds: 10, programs: EVERY_WAY });
