// Which GPUs a program would see: the same cases as the Python client's (test_preflight.py).

import { expect, test } from 'vitest';
import { visibleGpus } from '../../../src/preflight/visible.js';

const FIRST = { uuid: 'GPU-aa1', model: 'H100' };
const SECOND = { uuid: 'GPU-ab2', model: 'H100' };

test.each([
  [undefined, [FIRST, SECOND]],
  ['', []],
  ['-1', []],
  ['1', [SECOND]],
  ['1,0', [SECOND, FIRST]],
  ['0,7,1', [FIRST]],
  ['GPU-ab', [SECOND]],
  ['GPU-a', []],
  ['MIG-1, 0', [{ uuid: 'MIG-1' }, FIRST]],
])('CUDA_VISIBLE_DEVICES=%s', (said, left) => {
  expect(visibleGpus([FIRST, SECOND], said)).toEqual(left);
});
