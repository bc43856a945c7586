// The demo's checks: what the agent says of the workload against what the workload's own clocks say. Pure; each check is
// {name, ok, detail}.

/** CPU of one scope may differ by this share, and by this much where it is small (one tick, the kernel's rounding). */
const SCOPE_SHARE = 0.05;
const SCOPE_SECONDS = 0.05;

/** Paths that the workload enters without burning CPU on purpose. */
const MORE_SCOPES = ['checkpoint:save', 'buffer:replay', 'builder:b0/dataloader:workers'];

function check(name, ok, detail) {
  return { name, ok: Boolean(ok), detail };
}

const seconds = (value) => (value === undefined ? 'unknown' : `${value.toFixed(3)} s`);

/** Every check that the summary document and the workload's own figures allow. */
export function checkFigures(document, truth) {
  const scopes = new Map(document.scopes.map((scope) => [scope.path, scope]));
  return [
    check('the run has finished', document.run.status === 'FINISHED', document.run.status),
    ...checkConservation(document),
    checkScopesExist(scopes, truth),
    checkScopeClocks(scopes, truth),
    checkTotal(document, truth),
    checkAnswers(truth),
    ...checkMemoryAndFiles(document, scopes, truth),
  ];
}

function checkConservation({ conservation }) {
  const lines = Object.entries(conservation);
  const wrong = lines.filter(([, line]) => line.residual !== '0').map(([name]) => name);
  const sums = lines.filter(
    ([, line]) => BigInt(line.scopes) + BigInt(line.unattributed) !== BigInt(line.total),
  );
  const detail = wrong.length === 0 ? `${lines.length} columns` : wrong.join(', ');
  return [
    check(
      'scopes + unattributed = total, to the last nanosecond and byte',
      lines.length > 0 && wrong.length === 0,
      detail,
    ),
    check(
      'the printed integers add up',
      sums.length === 0,
      `${lines.length - sums.length} of ${lines.length}`,
    ),
  ];
}

function checkScopesExist(scopes, truth) {
  const wanted = [...Object.keys(truth.scope_cpu_seconds), ...MORE_SCOPES];
  const missing = wanted.filter((path) => !scopes.has(path));
  return check('every scope is there', missing.length === 0, missing.join(', ') || `${wanted.length} scopes`);
}

/** The scope that is furthest from the workload's own clock, by what is allowed. */
function checkScopeClocks(scopes, truth) {
  let worst = { path: '', excess: -Infinity, difference: 0, expected: 0 };
  for (const [path, expected] of Object.entries(truth.scope_cpu_seconds)) {
    const difference = (scopes.get(path)?.inclusive.cpu_seconds ?? Number.NaN) - expected;
    const excess = Math.abs(difference) - Math.max(SCOPE_SHARE * expected, SCOPE_SECONDS);
    if (!(excess <= worst.excess)) worst = { path, excess, difference, expected };
  }
  const off = `${(1000 * worst.difference).toFixed(1)} ms of ${seconds(worst.expected)}`;
  return check(
    "each scope's CPU is what its own clock says",
    worst.excess <= 0,
    `furthest off: ${worst.path} by ${off}`,
  );
}

function checkTotal(document, truth) {
  const total = document.totals.cpu_seconds?.value;
  const expected = truth.total_cpu_seconds;
  // The interpreter's own end and the agent's first sample lie outside the workload's clock.
  const ok = total !== undefined && Math.abs(total - expected) <= Math.max(0.02 * expected, 0.15);
  return check(
    "the run's CPU is what the workload's clocks say",
    ok,
    `${seconds(total)}, its clocks ${seconds(expected)}`,
  );
}

function checkAnswers(truth) {
  const values = truth.usage.map((answer) => answer.cpu_seconds ?? Number.NaN);
  const ok = values.every((value, index) => value > 0 && value >= (values[index - 1] ?? 0));
  return check(
    'run.usage answered while it ran',
    ok && values.length > 1,
    values.map((v) => seconds(v)).join(', then '),
  );
}

function checkMemoryAndFiles(document, scopes, truth) {
  const peak = scopes.get('buffer:replay')?.inclusive.memory_peak_bytes;
  const checks = [];
  if (document.totals.memory_peak_bytes) {
    const ok = peak !== undefined && peak >= 0.95 * truth.replay_bytes;
    checks.push(
      check('the replay buffer is in its scope', ok, `peak ${peak} bytes, buffer ${truth.replay_bytes}`),
    );
  }
  // A temporary folder in memory (tmpfs) is no storage: nothing is written to any.
  const total = document.totals.io_write_bytes?.value ?? 0;
  if (total >= truth.checkpoint_bytes) {
    const written = scopes.get('checkpoint:save')?.inclusive.io_write_bytes;
    const ok = written >= truth.checkpoint_bytes && written <= truth.checkpoint_bytes + 512 * 1024;
    checks.push(
      check(
        'the checkpoint is in its scope',
        ok,
        `${written} bytes written, ${truth.checkpoint_bytes} saved`,
      ),
    );
  }
  return checks;
}

/** The scrape: one sample of every scope, and the exposition's end. */
export function checkScrape(text, document) {
  const scope = document.scopes[0]?.path ?? '';
  const line = text
    .split('\n')
    .find((each) => each.startsWith('lezea_scope_cpu_seconds_total{') && each.includes(`scope="${scope}"`));
  return check('the scrape shows the scopes', line !== undefined, line ?? `no sample of ${scope}`);
}

/** The audit trail: every line is JSON with the run's id, numbered without a gap. */
export function checkEvents(text, runId) {
  const events = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const ok = events.length > 0 && events.every((event, at) => event.seq === at + 1 && event.run_id === runId);
  return check('the audit trail is whole', ok, `${events.length} events`);
}
