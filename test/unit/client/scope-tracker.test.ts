// Where the thread is, as the agent would understand it: what is announced is played back into a timeline of (time, scope).

import { AsyncResource } from 'node:async_hooks';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Announcer, ScopeTracker } from '../../../src/client/scope-tracker.js';
import type { Scope } from '../../../src/client/scopes.js';
import { ScopeTable } from '../../../src/client/scopes.js';

/** Understands enter and exit as the agent does: a stack per thread, the innermost counts. */
class Listener implements Announcer {
  readonly stack: string[] = [];
  readonly timeline: { tNs: number; where: string }[] = [];
  activations = 0;
  sends = true;

  enter(scope: Scope, tNs: number, activation: boolean): boolean {
    if (!this.sends) return false;
    this.stack.push(scope.path);
    if (activation) this.activations += 1;
    this.#note(tNs);
    return true;
  }

  exit(scope: Scope, tNs: number): boolean {
    if (!this.sends) return false;
    const at = this.stack.lastIndexOf(scope.path);
    expect(at, `exit of ${scope.path}, which was not entered`).toBeGreaterThanOrEqual(0);
    this.stack.splice(at, 1);
    this.#note(tNs);
    return true;
  }

  get where(): string {
    return this.stack.at(-1) ?? '';
  }

  /** The places, without those that lasted no time. */
  places(): string[] {
    const lasting = this.timeline.filter(({ tNs }, at, all) => all[at + 1]?.tNs !== tNs);
    return lasting.map(({ where }) => where);
  }

  #note(tNs: number): void {
    const last = this.timeline.at(-1);
    expect(tNs).toBeGreaterThanOrEqual(last?.tNs ?? 0);
    this.timeline.push({ tNs, where: this.where });
  }
}

let listener: Listener;
let tracker: ScopeTracker;
let table: ScopeTable;
let clock: number;

beforeEach(() => {
  clock = 0;
  listener = new Listener();
  // 2 ms pass between any two looks at the clock: nothing is ever back "at once".
  tracker = new ScopeTracker(listener, () => (clock += 2_000_000));
  table = new ScopeTable(() => undefined);
  tracker.start();
});

afterEach(() => tracker.stop());

function scope(name: string): Scope {
  return table.child(tracker.current, 'task', name) as Scope;
}

function inside<T>(name: string, fn: () => T): T {
  return tracker.run(scope(name), fn);
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('nested functions enter and leave', () => {
  inside('a', () => {
    expect(listener.where).toBe('task:a');
    inside('b', () => expect(listener.where).toBe('task:a/task:b'));
    expect(listener.where).toBe('task:a');
  });
  expect(listener.stack).toEqual([]);
  expect(listener.activations).toBe(2);
  expect(listener.places()).toEqual(['task:a', 'task:a/task:b', 'task:a', '']);
});

test('an exception leaves the scope too', () => {
  expect(() =>
    inside('a', () => {
      throw new Error('x');
    }),
  ).toThrow('x');
  expect(listener.stack).toEqual([]);
});

test('interleaved tasks are each in their own scope, and in none while they wait', async () => {
  const seen: string[] = [];
  const task = (name: string) =>
    inside(name, async () => {
      for (let step = 0; step < 3; step++) {
        await turn();
        seen.push(`${name} ${listener.where}`);
      }
    });
  await Promise.all([task('a'), task('b')]);
  expect(seen.sort()).toEqual(Array.from({ length: 6 }, (_, at) => (at < 3 ? 'a task:a' : 'b task:b')));
  await turn();
  expect(listener.where).toBe('');
  expect(listener.activations).toBe(2);
});

test('a task that awaits inside a scope leaks it into no other', async () => {
  let release: () => void = () => undefined;
  const held = inside('held', () => new Promise<void>((resolve) => (release = resolve)));
  await turn();
  expect(listener.where).toBe('');
  await inside('other', async () => {
    await turn();
    expect(listener.where).toBe('task:other');
  });
  release();
  await held;
});

test('code outside every scope that runs next is outside, however soon it runs', async () => {
  await inside('a', async () => {
    await turn();
  });
  expect(listener.where).toBe('');
});

test('timers and what is started in a scope stay in it', async () => {
  const where = await inside(
    'a',
    () => new Promise<string>((resolve) => setTimeout(() => resolve(listener.where), 1)),
  );
  expect(where).toBe('task:a');
});

test('a callback inside a callback gives the place back', async () => {
  const outer = scope('outer');
  await tracker.run(outer, async () => {
    await turn();
    const other = tracker.run(scope('inner'), () => new AsyncResource('test'));
    other.runInAsyncScope(() => expect(listener.where).toBe('task:outer/task:inner'));
    expect(listener.where).toBe('task:outer');
  });
});

test('enter and exit without a function', async () => {
  const a = scope('a');
  tracker.enterWith(a, true);
  expect(listener.where).toBe('task:a');
  await turn();
  expect(listener.where).toBe('task:a');
  tracker.enterWith(null, false);
  expect(listener.where).toBe('');
});

test('what could not be sent heals with the next switch', () => {
  inside('a', () => {
    listener.sends = false;
    inside('b', () => undefined);
    listener.sends = true;
    expect(tracker.dropped).toBe(1);
    inside('c', () => expect(listener.where).toBe('task:a/task:c'));
    expect(listener.where).toBe('task:a');
    listener.sends = false;
  });
  expect(listener.where).toBe('task:a');
  listener.sends = true;
  tracker.resume();
  expect(listener.where).toBe('');
});

test('a new session is told where the thread is, and that is no activation', () => {
  inside('a', () =>
    inside('b', () => {
      const fresh = new Listener();
      listener.stack.length = 0;
      const before = listener.activations;
      tracker.reannounce();
      expect(listener.stack).toEqual(['task:a/task:b']);
      expect(listener.activations).toBe(before);
      expect(fresh.stack).toEqual([]);
    }),
  );
  expect(listener.stack).toEqual([]);
});

test('a wait of one turn of the loop is no leaving', async () => {
  let now = 0;
  const quick = new Listener();
  const follower = new ScopeTracker(quick, () => (now += 10));
  follower.start();
  await follower.run(scope('a'), async () => {
    for (let step = 0; step < 50; step++) await null;
  });
  follower.stop();
  // Without holding back it would be 100.
  expect(quick.timeline.length).toBeLessThan(12);
});

test('after stop nothing is announced', async () => {
  await inside('a', async () => {
    tracker.stop();
    const before = listener.timeline.length;
    await turn();
    expect(listener.timeline.length).toBe(before);
    expect(listener.where).toBe('');
  });
});
