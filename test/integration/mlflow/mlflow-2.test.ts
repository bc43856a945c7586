// The MLflow sink against a real server of the oldest MLflow that users pin, 2.12.

import { mlflowSuite } from './suite.js';

mlflowSuite({
  major: 2,
  together: 100,
  budgetSeconds: 60,
  programs: ['before', 'after', 'documents', 'killed'],
});
