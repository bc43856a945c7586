// docs/schemas/environment.json, made from the schema that checks the document. Pure.

import { z } from 'zod';
import { ENVIRONMENT_SCHEMA, environment } from './document.js';

/** JSON Schema, draft 2020-12. */
export function schemaOf(): string {
  const schema = z.toJSONSchema(environment);
  return `${JSON.stringify({ $id: ENVIRONMENT_SCHEMA, ...schema }, null, 2)}\n`;
}
