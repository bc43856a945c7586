// What the sampler reads the kernel through: a clock, a procfs root and the optional sources that a live
// probe found working. Tests put their own in. Owned by the sampling thread once it runs.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "netlink/proc_connector.h"
#include "netlink/taskstats.h"
#include "nvml/gpu_snapshot.h"
#include "sampler/energy_meter.h"
#include "sampler/rollup_thread.h"
#include "service/descriptor_store.h"

namespace lezea {

struct SourceStatus {
  std::string name;
  std::string state;   // ok | fallback | unavailable | disabled
  std::string reason;  // what the probe saw
  std::string how;     // how to get it
};

// What a service manager kept of the agent before, and where it is told what to keep of this one.
struct KeptBefore {
  std::shared_ptr<DescriptorStore> store;  // nullptr: nobody keeps anything
  std::vector<KeptDescriptor> descriptors;
};

struct Sources {
  std::unique_ptr<Clock> clock;
  UniqueFd proc_root;
  std::unique_ptr<ExitListener> exits;  // nullptr: no exit records
  std::unique_ptr<ProcEvents> events;   // nullptr: children are found by scanning
  std::unique_ptr<TaskstatsReader>
      taskstats;                          // nullptr: IO from /proc/PID/io; only set where exits is
  std::string cgroup2_mount;              // empty: no cgroup figures
  int own_pid = 0;                        // the agent's: in no run, whoever forked it
  std::unique_ptr<RollupThread> rollups;  // nullptr: resident memory counts
  std::unique_ptr<EnergyMeter> energy;    // nullptr: the energy of the CPU is not known
  std::shared_ptr<nvml::GpuSource> gpus;  // nullptr: nothing is known of GPUs
  bool initial_pid_namespace = true;      // the agent is in it: a driver's pids are its own
  bool pidfd_info = true;
  KeptBefore kept;  // the descriptors: of processes and their sessions
  bool heard_before =
      false;  // `events` has all since an earlier agent's last state, so has `exits`
  std::vector<SourceStatus> statuses;
};

// So that the next agent hears what comes from now on: to be called when the last of the state is stored.
void hand_over_listeners(Sources& sources);

// Opens and probes everything on this machine; `disabled` names sources to leave out
// (taskstats, cn_proc, cgroup, smaps, pidfd_info, rapl). Forks short-lived children to prove the event sources.
Sources open_sources(const std::string& proc_root, const std::string& sys_root,
                     const std::vector<std::string>& disabled, KeptBefore kept = {});

}  // namespace lezea
