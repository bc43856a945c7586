// `run`: the command is the same with an agent, without one, and with one that dies; a real socket and real processes.

import { execFile, execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { FakeAgent } from '../client/fake-agent.js';
import { cli, PROGRAM, start } from './command-line.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lezea-run-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

describe('without an agent', () => {
  const none = () => ({ LEZEA_MONITOR_SOCKET: join(folder, 'none.sock') });

  test('the command runs, with one warning', async () => {
    const { code, stdout, stderr } = await cli(['run', 'echo', 'hello'], { env: none() });
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'hello\n' });
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).toContain('runs unmeasured: no agent answers');
  });

  test('standard input passes through', async () => {
    const input = 'x'.repeat(200_000);
    const { stdout } = await cli(['run', '--', 'cat'], { env: none(), input });
    expect(stdout).toBe(input);
  });

  test('its exit status is the command’s', async () => {
    expect((await cli(['run', 'sh', '-c', 'exit 7'], { env: none() })).code).toBe(7);
  });

  test('a command that a signal ended: 128 + signal', async () => {
    expect((await cli(['run', 'sh', '-c', 'kill -KILL $$'], { env: none() })).code).toBe(137);
  });

  test('arguments reach the command as they are', async () => {
    const script = 'for a in "$@"; do echo "[$a]"; done';
    const { stdout } = await cli(['run', 'sh', '-c', script, 'sh', 'a b', '', '--json', '$HOME'], {
      env: none(),
    });
    expect(stdout).toBe('[a b]\n[]\n[--json]\n[$HOME]\n');
  });

  test('variables reach the command as they are, also those no shell would name', async () => {
    const odd = { 'foo.bar': 'a b', 'BASH_FUNC_ml%%': '() {  :\n}', 'npm_//x/:_t': '$HOME' };
    const show = 'process.stdout.write(JSON.stringify(process.env))';
    const { stdout } = await cli(['run', process.execPath, '-e', show], { env: { ...none(), ...odd } });
    expect(JSON.parse(stdout)).toMatchObject(odd);
  });

  test('what is no folder in PATH is passed over', async () => {
    const PATH = `/etc/passwd:${'x'.repeat(300)}:${process.env.PATH}`;
    expect((await cli(['run', 'echo', 'hello'], { env: { ...none(), PATH } })).stdout).toBe('hello\n');
    expect((await cli(['run', '/etc/passwd/x'], { env: none() })).code).toBe(127);
  });

  test('a signal to the runner reaches the command', async () => {
    const running = start(
      ['run', 'sh', '-c', 'trap "echo got; exit 5" TERM; echo up; while :; do sleep 0.05; done'],
      {
        env: none(),
      },
    );
    await running.saw('up');
    running.child.kill('SIGTERM');
    expect(await running.outcome).toMatchObject({ code: 5, stdout: 'up\ngot\n' });
  });

  test('a signal that was ignored at the start stays ignored, and is not passed on', async () => {
    const program = PROGRAM.replace(/\.js$/, '');
    const command =
      'grep SigIgn /proc/self/status; env | grep -c LEZEA_IGNORED; kill -HUP $PPID; kill -HUP $$; echo lived';
    const script = 'trap "" HUP USR1; exec "$@"';
    const env = { ...process.env, ...none(), PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
    const args = ['-c', script, 'sh', program, 'run', 'sh', '-c', command];
    const { stdout } = await promisify(execFile)('sh', args, { env });
    const [ignored = '', leaked, last] = stdout.trim().split('\n');
    const bits = BigInt(`0x${ignored.split('\t')[1]}`);
    expect([bits & 1n, (bits >> 1n) & 1n, (bits >> 9n) & 1n, leaked, last]).toEqual([
      1n,
      0n,
      1n,
      '0',
      'lived',
    ]);
    const plain = await promisify(execFile)(program, ['run', 'grep', 'SigIgn', '/proc/self/status'], { env });
    expect(plain.stdout).toMatch(/^SigIgn:\s0+\s*$/);
  });

  test('an interrupt typed on the terminal reaches the command once', async () => {
    const count =
      'n=0; trap "n=\\$((n+1))" INT; echo up; for i in 1 2 3 4 5 6; do sleep 0.1; done; echo total $n';
    // The runner in the foreground of a terminal of its own; Ctrl-C once the command is up.
    const typist = [
      'import os, pty, sys',
      'pid, terminal = pty.fork()',
      'if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])',
      'seen = b""',
      'while True:',
      '    try: piece = os.read(terminal, 4096)',
      '    except OSError: break',
      '    if b"up" not in seen and b"up" in seen + piece: os.write(terminal, b"\\x03")',
      '    seen += piece',
      'print(seen.decode())',
    ].join('\n');
    const args = ['-c', typist, process.execPath, PROGRAM, 'run', 'sh', '-c', count];
    const output = execFileSync('python3', args, { env: { ...process.env, ...none() } }).toString();
    expect(output).toContain('total 1');
  });

  test('no descriptor of the runner’s is left in the command', async () => {
    const list = 'ls /proc/$$/fd';
    const { stdout } = await cli(['run', 'sh', '-c', list], { env: none() });
    // What this process itself would pass on (a test runner's own descriptors) is no fault of the runner's.
    const direct = execFileSync('sh', ['-c', list], { stdio: ['pipe', 'pipe', 'pipe'] }).toString();
    expect(stdout).toBe(direct);
  });

  test('a command that is not there: 127; not executable: 126', async () => {
    const missing = await cli(['run', 'no-such-command'], { env: none() });
    expect(missing).toMatchObject({
      code: 127,
      stderr: 'lezea-monitor: no-such-command: not found: expected a command\n',
    });
    expect((await cli(['run', '/etc/passwd'], { env: none() })).code).toBe(126);
  });
});

describe('with an agent', () => {
  let agent: FakeAgent;
  const env = () => ({ LEZEA_MONITOR_SOCKET: agent.path });

  beforeEach(async () => {
    agent = await FakeAgent.start();
  });

  afterEach(() => agent.stop());

  test('the command is bound before it does anything', async () => {
    const mark = join(folder, 'mark');
    let early = 'not asked';
    agent.answers['session.open'] = ({ pid }) => {
      early = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
      return { session: '0'.repeat(32) };
    };
    const args = ['run', '--scope', 'builder:b0', '--experiment', 'e', '--tag', 'a=b=c', 'touch', mark];
    expect((await cli(args, { env: env() })).code).toBe(0);
    expect(early).toBe('sh');
    expect(agent.of('run.start')[0]?.params).toEqual({ experiment: 'e', tags: { a: 'b=c' } });
    expect(agent.of('session.open')[0]?.params).toMatchObject({
      run_id: 'made-1',
      birth_scope: 'builder:b0',
    });
    expect(agent.received.map(({ method }) => method)).toEqual([
      'hello',
      'run.start',
      'session.open',
      'run.end',
    ]);
  });

  test('the ranks of the launcher go along', async () => {
    const launcher = { SLURM_PROCID: '1', SLURM_NTASKS: '2', SLURM_NNODES: '2' };
    expect((await cli(['run', 'true'], { env: { ...env(), ...launcher } })).code).toBe(0);
    expect(agent.of('run.start')[0]?.params).toEqual({ rank: 1, world_size: 2 });
  });

  test('the command finds the run and the agent in its environment', async () => {
    const { stdout } = await cli(
      ['run', '--run-id', 'mine', 'sh', '-c', 'echo $LEZEA_RUN_ID $LEZEA_MONITOR_SOCKET'],
      {
        env: env(),
      },
    );
    expect(stdout).toBe(`mine ${agent.path}\n`);
  });

  test.each([
    ['exit 0', { status: 'FINISHED' }],
    ['exit 3', { status: 'FAILED', reason: 'exit code 3' }],
    ['kill -KILL $$', { status: 'KILLED', reason: 'ended by signal 9 (SIGKILL)' }],
    ['kill -TERM $$', { status: 'INTERRUPTED', reason: 'ended by signal 15 (SIGTERM)' }],
  ])('after `%s` the run has ended so', async (script, expected) => {
    await cli(['run', 'sh', '-c', script], { env: env() });
    expect(agent.of('run.end')[0]?.params).toEqual({ run_id: 'made-1', ...expected });
  });

  test('a command that fails after the runner was told to stop was interrupted', async () => {
    const running = start(['run', 'sh', '-c', 'trap "exit 9" TERM; echo up; while :; do sleep 0.05; done'], {
      env: env(),
    });
    await running.saw('up');
    running.child.kill('SIGTERM');
    expect((await running.outcome).code).toBe(9);
    expect(agent.of('run.end')[0]?.params).toMatchObject({ status: 'INTERRUPTED', reason: 'exit code 9' });
  });

  test('totals go to standard error, and nowhere with --quiet', async () => {
    const loud = await cli(['run', 'true'], { env: env() });
    expect(loud.stdout).toBe('');
    expect(loud.stderr).toMatch(/run made-1: FINISHED\n(.*\n)*CPU time +1\.500 s/);
    expect((await cli(['run', '--quiet', 'true'], { env: env() })).stderr).toBe('');
  });

  test('--summary writes the document, as JSON or YAML', async () => {
    const document = { schema: 'lezea.resources/v1', totals: { cpu_seconds: { value: 1.5 } } };
    const text = Buffer.from(JSON.stringify(document));
    agent.answers['run.get'] = ({ offset }) => {
      const data = text.subarray(offset, offset + 20);
      return {
        data: data.toString('base64'),
        offset,
        size: text.length,
        eof: offset + data.length >= text.length,
      };
    };
    const json = join(folder, 's.json');
    const yaml = join(folder, 's.yaml');
    await cli(['run', '--summary', json, 'true'], { env: env() });
    await cli(['run', '--summary', yaml, '--format', 'yaml', 'true'], { env: env() });
    expect(JSON.parse(readFileSync(json, 'utf8'))).toEqual(document);
    expect(parse(readFileSync(yaml, 'utf8'))).toEqual(document);
    // A link leads to the file; a pipe is written to. Neither is replaced.
    const link = join(folder, 'link.json');
    symlinkSync(json, link);
    writeFileSync(json, 'old');
    await cli(['run', '--summary', link, 'true'], { env: env() });
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(JSON.parse(readFileSync(json, 'utf8'))).toEqual(document);
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const reader = promisify(execFile)('cat', [pipe]);
    await cli(['run', '--summary', pipe, 'true'], { env: env() });
    expect(lstatSync(pipe).isFIFO()).toBe(true);
    expect(JSON.parse((await reader).stdout)).toEqual(document);
  }, 15_000);

  test('--metrics and --hardware-usage write theirs, beside the summary or alone', async () => {
    const document = {
      totals: { cpu_seconds: { value: 1.5 } },
      run: { elapsed_seconds: 4, cpu_windows: { count: 4, busiest_cpus: 1 } },
      node: { cpus: 2, memory_bytes: 1000 },
      scopes: [{ path: 'layer:l', self: { cpu_seconds: 1 }, inclusive: { cpu_seconds: 1.25 } }],
    };
    const data = Buffer.from(JSON.stringify(document));
    agent.answers['run.get'] = () => ({
      ...{ data: data.toString('base64'), offset: 0, size: data.length, eof: true },
    });
    const [metrics, summary] = [join(folder, 'm.json'), join(folder, 's.json')];
    const flat =
      '{\n  "total/cpu_seconds": 1.5,\n  "layer:l/cpu_seconds": 1,\n  "layer:l/inclusive/cpu_seconds": 1.25\n}\n';
    await cli(['run', '--metrics', metrics, '--format', 'yaml', 'true'], { env: env() });
    expect(readFileSync(metrics, 'utf8')).toBe(flat);
    await cli(['run', '--metrics', metrics, '--summary', summary, 'true'], { env: env() });
    expect(readFileSync(metrics, 'utf8')).toBe(flat);
    expect(JSON.parse(readFileSync(summary, 'utf8'))).toEqual(document);
    const usage = join(folder, 'u.json');
    await cli(['run', '--hardware-usage', usage, 'true'], { env: env() });
    expect(JSON.parse(readFileSync(usage, 'utf8'))).toEqual({
      cpu: { mean_percent: 18.75, max_percent: 50, samples: 4 },
    });
  }, 15_000);

  test('an agent that refuses does not keep the command from running', async () => {
    agent.answers['session.open'] = () => new Error('too_many');
    const { code, stdout, stderr } = await cli(['run', '--quiet', 'echo', 'hello'], { env: env() });
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'hello\n' });
    expect(stderr).toContain('runs unmeasured: refused: too_many');
  });

  test('an agent that dies and comes back while the command runs is told the end', async () => {
    const running = start(['run', 'sh', '-c', 'echo up; read -r _'], { env: env() });
    running.child.stdin?.destroy();
    await running.outcome;
    expect(agent.of('run.end')).toHaveLength(1);

    const gate = join(folder, 'gate');
    const second = start(
      ['run', '--quiet', 'sh', '-c', `echo up; while [ ! -e ${gate} ]; do sleep 0.05; done`],
      { env: env() },
    );
    await second.saw('up');
    await agent.die();
    await agent.listen();
    await cli(['run', 'touch', gate], { env: { LEZEA_MONITOR_SOCKET: join(folder, 'none.sock') } });
    expect(await second.outcome).toMatchObject({ code: 0, stderr: '' });
    expect(agent.of('run.end')).toHaveLength(2);
  });
});
