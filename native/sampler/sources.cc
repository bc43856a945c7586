// Opens every source and believes none of them before it has delivered; see netlink/probe.h.

#include "sampler/sources.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "netlink/probe.h"
#include "node/powercap.h"
#include "procfs/cgroup_cpu.h"
#include "procfs/process_files.h"

namespace lezea {
namespace {

using Names = std::vector<std::string>;

bool has(const Names& names, const char* name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void add(Sources& sources, const char* name, const char* state, std::string reason,
         const char* how = "") {
  sources.statuses.push_back({name, state, std::move(reason), how});
}

constexpr const char* kExitRecords = "exit-records";
constexpr const char* kProcessEvents = "process-events";

// Nothing where there is none of this name. It is this agent's alone from now on: were it killed, what it has heard and not
// stored would be missing in what the next one hears.
UniqueFd take_kept(KeptBefore& kept, const std::string& name) {
  UniqueFd taken;
  for (KeptDescriptor& descriptor : kept.descriptors) {
    if (descriptor.name == name) taken = std::move(descriptor.fd);
  }
  if (taken && kept.store) {
    kept.store->drop(name);
    kept.store->flush();
  }
  return taken;
}

// The one that was kept, with what came in the meantime, where it still delivers and has lost nothing; else a fresh one.
// Nothing: `why` not.
template <class Listener, class Record, class Probe>
std::unique_ptr<Listener> open_listener(KeptBefore& kept, const char* name, Probe probe,
                                        bool* before, std::string* why) {
  UniqueFd socket = take_kept(kept, name);
  *before = socket.valid();
  while (true) {
    Result<std::unique_ptr<Listener>> opened =
        *before ? Listener::adopt(std::move(socket)) : Listener::open();
    std::vector<Record> heard;
    *why = opened.ok() ? probe(*opened.value, heard) : std::string(lezea::name(opened.status));
    const bool whole = why->empty() && (!*before || opened.value->lost() == 0);
    if (whole && *before) opened.value->unread(std::move(heard));
    if (whole) return std::move(opened.value);
    if (!*before) return nullptr;
    *before = false;
  }
}

bool open_exit_records(Sources& sources, const Names& disabled) {
  constexpr const char* kHow =
      "needs CAP_NET_ADMIN in the initial user, PID and network namespaces "
      "(system mode grants it; no PrivateNetwork=)";
  if (has(disabled, "taskstats")) {
    add(sources, "exit_records", "disabled", "disabled by configuration");
    return false;
  }
  bool before = false;
  std::string why;
  auto listener = open_listener<TaskstatsListener, TaskUsage>(sources.kept, kExitRecords,
                                                              probe_exit_records, &before, &why);
  if (listener) {
    Result<TaskstatsReader> reader = TaskstatsReader::open();
    why = reader.ok() ? probe_taskstats_reader(reader.value) : std::string(name(reader.status));
    if (why.empty()) {
      sources.exits = std::move(listener);
      sources.taskstats = std::make_unique<TaskstatsReader>(std::move(reader.value));
      add(sources, "exit_records", "ok", "taskstats delivered a child's exit record");
      return before;
    }
  }
  add(sources, "exit_records", "fallback",
      why + "; short-lived children come from cutime and cgroup cpu.stat, IO from /proc/PID/io",
      kHow);
  return false;
}

bool open_process_events(Sources& sources, const Names& disabled) {
  constexpr const char* kHow = "needs the initial network namespace, before Linux 6.6 also root";
  if (has(disabled, "cn_proc")) {
    add(sources, "process_events", "disabled",
        "disabled by configuration; children are found by scanning");
    return false;
  }
  bool before = false;
  std::string why;
  auto connector = open_listener<ProcConnector, ProcEvent>(sources.kept, kProcessEvents,
                                                           probe_proc_events, &before, &why);
  if (connector) {
    sources.events = std::move(connector);
    add(sources, "process_events", "ok", "CN_PROC delivered a child's fork and exit");
    return before;
  }
  add(sources, "process_events", "fallback", why + "; children are found by scanning", kHow);
  return false;
}

void find_cgroups(Sources& sources, const Names& disabled) {
  if (has(disabled, "cgroup")) {
    add(sources, "cgroup", "disabled", "disabled by configuration");
    return;
  }
  const Result<std::string> mount = find_cgroup2_mount(sources.proc_root.get());
  if (mount.ok()) {
    sources.cgroup2_mount = mount.value;
    add(sources, "cgroup", "ok", "cgroup v2 is mounted at " + mount.value);
  } else {
    add(sources, "cgroup", "unavailable", std::string("no cgroup v2 mount: ") + name(mount.status),
        "mount cgroup2");
  }
}

void probe_own_files(Sources& sources, const Names& disabled) {
  Result<ProcessFiles> own = ProcessFiles::open(sources.proc_root.get(), getpid());
  const Result<uint64_t> cpu = sources.clock->process_cpu_ns(getpid());
  if (cpu.ok()) {
    add(sources, "cpu_clock", "ok", "the CPU clock of another process is readable");
  } else {
    add(sources, "cpu_clock", "fallback",
        std::string(name(cpu.status)) + "; /proc/PID/stat is read, in steps of 10 ms");
  }
  const bool io = own.ok() && own.value.io().ok();
  add(sources, "process_io", io || sources.taskstats ? "ok" : "unavailable",
      sources.taskstats ? "from taskstats"
      : io              ? "from /proc/PID/io, same user only"
                        : "/proc/PID/io is refused",
      "same user, taskstats, or CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH");
  const bool smaps = own.ok() && own.value.smaps_rollup().ok();
  if (!has(disabled, "smaps")) sources.rollups = std::make_unique<RollupThread>();
  if (!sources.rollups) {
    add(sources, "proportional_memory", "disabled",
        "disabled by configuration; resident memory is counted");
  } else {
    add(sources, "proportional_memory", smaps ? "ok" : "fallback",
        smaps ? "smaps_rollup of processes that may be read"
              : "smaps_rollup is refused; resident memory",
        "same user or CAP_SYS_PTRACE");
  }
  sources.pidfd_info = !has(disabled, "pidfd_info");
  const std::string why =
      sources.pidfd_info ? probe_pidfd_exit_info() : "disabled by configuration";
  sources.pidfd_info = why.empty();
  add(sources, "exit_status", why.empty() ? "ok" : "fallback",
      why.empty() ? "PIDFD_GET_INFO tells a reaped process's status"
                  : why + "; exit records or process events tell it where they can",
      "Linux 6.15 or later");
}

std::string why_no_energy(ReadStatus status) {
  switch (status) {
    case ReadStatus::kGone:
      return "no RAPL zones: a virtual machine, or a CPU without them";
    case ReadStatus::kDenied:
      return "energy_uj: permission denied; expected root or a readable file";
    default:
      return std::string("energy_uj: ") + name(status);
  }
}

void find_energy(Sources& sources, const std::string& sys_root, const Names& disabled) {
  constexpr const char* kHow =
      "root, CAP_DAC_READ_SEARCH, or energy_uj made readable (docs/meaning.md); on a machine of "
      "its "
      "own the module intel_rapl_msr";
  if (has(disabled, "rapl")) {
    add(sources, "cpu_energy", "disabled",
        "disabled by configuration; cpu_energy_joules is absent");
    return;
  }
  Powercap powercap(sys_root);
  if (powercap.zones().empty()) {
    add(sources, "cpu_energy", "unavailable",
        why_no_energy(powercap.status()) + "; cpu_energy_joules is absent", kHow);
    return;
  }
  std::string zones = "RAPL:";
  for (const PowercapZone& zone : powercap.zones()) zones += " " + zone.kind + "-" + zone.index;
  add(sources, "cpu_energy", "ok", zones);
  sources.energy = std::make_unique<EnergyMeter>(sys_root, std::move(powercap));
}

// The kernel gives the first namespace this number (PROC_PID_INIT_INO, include/linux/proc_ns.h).
bool is_initial_pid_namespace() {
  struct stat found{};
  constexpr ino_t kInitial = 0xEFFFFFFC;
  return stat("/proc/self/ns/pid", &found) == 0 && found.st_ino == kInitial;
}

}  // namespace

void hand_over_listeners(Sources& sources) {
  if (!sources.kept.store) return;
  if (sources.exits) sources.kept.store->keep(kExitRecords, sources.exits->fd());
  if (sources.events) sources.kept.store->keep(kProcessEvents, sources.events->fd());
  if (sources.exits) sources.exits->outlive();
  if (sources.events) sources.events->outlive();
}

Sources open_sources(const std::string& proc_root, const std::string& sys_root,
                     const Names& disabled, KeptBefore kept) {
  Sources sources;
  sources.kept = std::move(kept);
  sources.clock = std::make_unique<SystemClock>();
  sources.own_pid = getpid();
  sources.initial_pid_namespace = is_initial_pid_namespace();
  sources.proc_root = UniqueFd(open(proc_root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const bool exits_before = open_exit_records(sources, disabled);
  sources.heard_before = open_process_events(sources, disabled);
  if (exits_before && !sources.heard_before) {
    // Without the events nobody can tell whose pid it was by then.
    std::vector<TaskUsage> doubtful;
    sources.exits->drain(doubtful);
  }
  find_cgroups(sources, disabled);
  probe_own_files(sources, disabled);
  find_energy(sources, sys_root, disabled);
  return sources;
}

}  // namespace lezea
