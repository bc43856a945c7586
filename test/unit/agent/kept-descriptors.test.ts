// What a service manager says of the descriptors that it passes.

import { describe, expect, it } from 'vitest';
import { keptDescriptors } from '../../../src/agent/kept-descriptors.js';

const MANAGED = { NOTIFY_SOCKET: '/run/systemd/notify', PATH: '/bin' };

describe('descriptors that a service manager kept', () => {
  it('are taken by name, and their variables out of the environment', () => {
    const env: NodeJS.ProcessEnv = {
      ...MANAGED,
      LISTEN_PID: '12',
      LISTEN_FDS: '3',
      LISTEN_FDNAMES: 'exit-records:ring-7-8:ids-7-8',
    };
    expect(keptDescriptors(env, 12)).toEqual({
      address: '/run/systemd/notify',
      names: ['exit-records', 'ring-7-8', 'ids-7-8'],
    });
    expect(env).toEqual(MANAGED);
  });

  it.each([
    ['another process is meant', { LISTEN_PID: '13', LISTEN_FDS: '1', LISTEN_FDNAMES: 'a' }],
    ['nothing is passed', {}],
    ['their number is none', { LISTEN_PID: '12', LISTEN_FDS: '-1' }],
    ['their number is absurd', { LISTEN_PID: '12', LISTEN_FDS: '99999999999' }],
  ])('are none where %s', (_, variables) => {
    expect(keptDescriptors({ ...MANAGED, ...variables }, 12)?.names).toEqual([]);
  });

  it('have no name where none is told', () => {
    const env = { ...MANAGED, LISTEN_PID: '12', LISTEN_FDS: '2', LISTEN_FDNAMES: 'a' };
    expect(keptDescriptors(env, 12)?.names).toEqual(['a', '']);
  });

  it('are left alone without a manager, but for the environment', () => {
    const env: NodeJS.ProcessEnv = { LISTEN_PID: '12', LISTEN_FDS: '1', LISTEN_FDNAMES: 'a' };
    expect(keptDescriptors(env, 12)).toBeUndefined();
    expect(env).toEqual({});
  });
});
