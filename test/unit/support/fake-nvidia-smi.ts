// A program in the place of nvidia-smi: a shell script that answers as the real one does, where no GPU is.

import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface FakeGpu {
  uuid?: string;
  /** Elements in the place of those of a healthy H100. */
  elements?: string;
}

export const uuidOf = (index: number) => `GPU-00000000-0000-0000-0000-${String(index).padStart(12, '0')}`;

const healthy = (index: number) => `
    <fan_speed>N/A</fan_speed>
    <fb_memory_usage>
      <total>81559 MiB</total><reserved>551 MiB</reserved><used>${1000 + index} MiB</used><free>80007 MiB</free>
    </fb_memory_usage>
    <utilization><gpu_util>37 %</gpu_util><memory_util>12 %</memory_util><encoder_util>0 %</encoder_util></utilization>
    <temperature><gpu_temp>41 C</gpu_temp><memory_temp>48 C</memory_temp></temperature>
    <gpu_power_readings>
      <average_power_draw>212.50 W</average_power_draw><instant_power_draw>N/A</instant_power_draw>
      <current_power_limit>700.00 W</current_power_limit>
    </gpu_power_readings>
    <clocks><graphics_clock>1980 MHz</graphics_clock><sm_clock>1980 MHz</sm_clock><mem_clock>2619 MHz</mem_clock></clocks>`;

/** What `nvidia-smi -q -x` prints for these GPUs; `extra` goes into the first of them. */
export function smiXml(gpus: readonly FakeGpu[], extra = ''): string {
  const one = ({ uuid, elements }: FakeGpu, index: number) => `
  <gpu id="00000000:${index.toString(16).padStart(2, '0').toUpperCase()}:00.0">
    <product_name>NVIDIA H100 80GB HBM3</product_name>
    <uuid>${uuid ?? uuidOf(index)}</uuid>
    <serial>16500230${index}</serial>
    <vbios_version>96.00.61.00.01</vbios_version>
    <persistence_mode>Enabled</persistence_mode>
    <compute_mode>Default</compute_mode>
    <mig_mode><current_mig>Disabled</current_mig><pending_mig>Disabled</pending_mig></mig_mode>
    <pci><pci_bus_id>00000000:0${index}:00.0</pci_bus_id></pci>${elements ?? healthy(index)}${index === 0 ? extra : ''}
  </gpu>`;
  return `<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <timestamp>Sun Nov 22 07:00:00 2026</timestamp>
  <driver_version>570.124.06</driver_version>
  <cuda_version>12.8</cuda_version>
  <attached_gpus>${gpus.length}</attached_gpus>${gpus.map(one).join('')}
</nvidia_smi_log>
`;
}

/** The path of one that prints `xml`, after the commands of `script`. */
export function fakeNvidiaSmi(folder: string, xml: string, script = ''): string {
  writeFileSync(join(folder, 'answer.xml'), xml);
  const program = join(folder, 'nvidia-smi');
  writeFileSync(
    program,
    `#!/bin/sh\necho "$@" >> '${folder}/asked'\n${script}\ncat '${folder}/answer.xml'\n`,
  );
  chmodSync(program, 0o755);
  return program;
}
