// docs/protocol.md: every method, notification, error word and limit is in it.

import { expect, it } from 'vitest';
import { LIMIT_TABLE } from '../../../src/attribution/limits.js';
import { describeProtocol } from '../../../src/ipc/describe.js';
import { ERROR_WORDS } from '../../../src/ipc/errors.js';
import { NOTIFICATIONS } from '../../../src/ipc/notifications.js';
import { METHODS } from '../../../src/ipc/protocol.js';

it('names everything a client may rely on', () => {
  const text = describeProtocol();
  for (const name of [...Object.keys(METHODS), ...Object.keys(NOTIFICATIONS)])
    expect(text).toContain(`### \`${name}\``);
  for (const word of [...Object.keys(ERROR_WORDS), ...Object.keys(LIMIT_TABLE)])
    expect(text).toContain(`| \`${word}\` |`);
  expect(text).toContain('| `run_id` | string | yes |');
  expect(text).not.toContain('undefined');
  expect(text).not.toContain('[object Object]');
});
