// deploy/kubernetes against Kubernetes' own schemas (test/fixtures/kubernetes), and against the agent: that its files are
// where the agent looks, and the configuration is one.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { afterEach, expect, it } from 'vitest';
import { parse } from 'yaml';
import { AgentProcess } from '../support/agent-process.js';
import { temporaryFolder } from '../support/bench.js';
import { Client } from '../support/ipc-bench.js';
import { textOf } from './families.js';

const ROOT = join(import.meta.dirname, '../../..');
const KINDS: Record<string, string> = {
  DaemonSet: 'io.k8s.api.apps.v1.DaemonSet',
  Namespace: 'io.k8s.api.core.v1.Namespace',
  ConfigMap: 'io.k8s.api.core.v1.ConfigMap',
};
const read = (file: string) => parse(textOf(`deploy/kubernetes/${file}`)) as Record<string, unknown>;
const kustomization = read('kustomization.yaml') as {
  resources: string[];
  configMapGenerator: { name: string; files: string[] }[];
  images: { name: string }[];
};

// Formats such as int32 are for code generators.
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
ajv.addSchema(JSON.parse(textOf('test/fixtures/kubernetes/schemas.json')) as object, 'kubernetes');

/** What Kubernetes would say of it; empty: nothing. */
function complaints(manifest: { kind?: unknown }): string[] {
  const name = KINDS[String(manifest.kind)];
  if (name === undefined) return [`no schema of ${String(manifest.kind)}`];
  ajv.validate(`kubernetes#/definitions/${name}`, manifest);
  return (ajv.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

interface DaemonSet {
  kind: string;
  spec: {
    selector: { matchLabels: object };
    template: {
      metadata: { labels: object };
      spec: {
        hostPID?: boolean;
        containers: {
          image: string;
          securityContext: { capabilities: { drop: string[]; add: string[] } };
          volumeMounts: { name: string; mountPath: string }[];
        }[];
        volumes: { name: string; configMap?: { name: string }; hostPath?: { path: string } }[];
      };
    };
  };
}

const daemonSet = () => read('daemonset.yaml') as unknown as DaemonSet;

it.each(kustomization.resources)('%s is what Kubernetes takes', (file) => {
  expect(complaints(read(file))).toEqual([]);
});

it.each([
  ['a word that is none', (set: DaemonSet) => Object.assign(set.spec.template.spec, { hostPid: true })],
  ['another type', (set: DaemonSet) => Object.assign(set.spec.template.spec, { hostPID: 'yes' })],
  ['nothing where something must be', (set: DaemonSet) => Object.assign(set.spec, { selector: undefined })],
  ['a deep one', (set: DaemonSet) => Object.assign(set.spec.template.spec.containers[0]!, { port: 1 })],
])('is refused: %s', (_, change) => {
  const set = daemonSet();
  change(set);
  expect(complaints(JSON.parse(JSON.stringify(set)) as DaemonSet)).not.toEqual([]);
});

it('puts the agent where its files and its clients are', () => {
  const { selector, template } = daemonSet().spec;
  expect(template.metadata.labels).toEqual(selector.matchLabels);
  expect(template.spec.hostPID).toBe(true);
  const [container] = template.spec.containers;
  const mounts = Object.fromEntries(container!.volumeMounts.map(({ name, mountPath }) => [name, mountPath]));
  expect(Object.keys(mounts).sort()).toEqual(template.spec.volumes.map(({ name }) => name).sort());
  const volumes = Object.fromEntries(template.spec.volumes.map((volume) => [volume.name, volume]));
  // Where the agent of system mode has them, and where pods look for its socket.
  expect(mounts.socket).toBe('/run/lezea-monitor');
  expect(volumes.socket?.hostPath?.path).toBe('/run/lezea-monitor');
  expect(mounts.state).toBe('/var/lib/lezea-monitor');
  expect(mounts.config).toBe('/etc/lezea-monitor');
  const [config] = kustomization.configMapGenerator;
  expect(volumes.config?.configMap?.name).toBe(config?.name);
  expect(config?.files).toEqual(['config.yaml']);
  expect(kustomization.images.map(({ name }) => name)).toEqual([container?.image]);
});

it('gives it a configuration that it takes', () => {
  const file = join(ROOT, 'deploy/kubernetes/config.yaml');
  const checked = spawnSync(process.execPath, [join(ROOT, 'bin/lezea-monitor.js'), 'config', 'check', file], {
    env: { PATH: process.env.PATH ?? '', LEZEA_MONITOR_AGENT__MODE: 'system' },
    encoding: 'utf8',
  });
  expect([checked.status, checked.stderr]).toEqual([0, '']);
});

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** States of the data sources of an agent that is started through a command. */
async function sourcesOf(through: string[]): Promise<Record<string, string>> {
  const folder = temporaryFolder();
  cleanups.push(() => folder.remove());
  const agent = new AgentProcess(folder.path, { mode: 'system', through });
  cleanups.push(async () => {
    agent.child.kill('SIGKILL');
    await agent.exit;
  });
  await agent.ready();
  const client = await Client.connect(agent.socket);
  cleanups.push(() => client.close());
  const { sources } = (await client.result('node.status', {})) as {
    sources: { name: string; state: string }[];
  };
  return Object.fromEntries(sources.map(({ name, state }) => [name, state]));
}

// Sources are probed with children of the agent's own: what SYS_PTRACE and DAC_READ_SEARCH are for does not show here.
const isRoot = process.getuid?.() === 0;

it.skipIf(!isRoot)(
  `has every source with its capabilities that root has with all${isRoot ? '' : ' (skipped: only root can show it)'}`,
  { timeout: 60_000 },
  async () => {
    const { drop, add } = daemonSet().spec.template.spec.containers[0]!.securityContext.capabilities;
    expect(drop).toEqual(['ALL']);
    const kept = add.map((name) => `+${name.toLowerCase()}`).join(',');
    const through = ['/usr/bin/setpriv', '--no-new-privs', `--inh-caps=-all,${kept}`];
    const limited = await sourcesOf([...through, `--bounding-set=-all,${kept}`, '--']);
    expect(limited).toEqual(await sourcesOf([]));
    expect(Object.keys(limited).length).toBeGreaterThan(5);
  },
);
