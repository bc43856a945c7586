// Where one v2 cgroup holds a run and nothing else, its cpu.stat is the whole truth about the run's CPU:
// what it has above the run's total is granted to the birth scopes of the children that ended, and the
// total must never pass it (self-consistency cannot see over-counting).

#include <algorithm>

#include "procfs/pid_cgroup.h"
#include "sampler/engine.h"

namespace lezea {
namespace {

constexpr uint64_t kCheckEveryNs = 1'000'000'000;
// The offset is taken a moment after the run's figures, so the total may pass the cgroup by that much.
constexpr uint64_t kExcessToleranceNs = 20'000'000;
constexpr int kMostUnknownAncestors = 16;

}  // namespace

void Engine::read_cgroups() {
  for (auto& [id, extra] : extras_) {
    CgroupLedger& ledger = extra.cgroup;
    ledger.usage_ns.reset();
    const Run* run = table_.run(id);
    if (!ledger.active || run == nullptr) continue;
    const Result<uint64_t> usage = ledger.files.usage_ns();
    if (!usage.ok()) {
      ledger.active = false;
      continue;
    }
    ledger.usage_ns = usage.value;
    const __int128 above = static_cast<__int128>(run->totals.value[kCpu]) + ledger.offset_ns -
                           static_cast<__int128>(usage.value);
    if (above > static_cast<__int128>(kExcessToleranceNs)) {
      ledger.excess_ns = std::max(ledger.excess_ns, static_cast<uint64_t>(above));
    }
  }
}

void Engine::grant_by_cgroup() {
  const uint64_t now = sources_.clock->monotonic_ns();
  const bool check = now - last_cgroup_check_ns_ >= kCheckEveryNs;
  if (check) last_cgroup_check_ns_ = now;
  for (auto& [id, run] : table_.runs()) {
    CgroupLedger& ledger = extras_[id].cgroup;
    if (ledger.active && ledger.usage_ns && !ledger.ended.count.empty() && !anyone_waits(id)) {
      const __int128 missing = static_cast<__int128>(*ledger.usage_ns) - ledger.offset_ns -
                               static_cast<__int128>(run.totals.value[kCpu]);
      // A stranger may have come since the last check.
      if (missing > 0 && !holds_only(id, ledger.files)) {
        ledger.active = false;
      } else if (missing > 0) {
        grant(static_cast<uint64_t>(missing), ledger.ended.count);
        ledger.ended.granted = true;
      }
    }
    if (!ledger.active) ledger.ended = EndedSlots{};
    if (check && run.processes > 0) check_cgroup(id, ledger);
  }
}

// The v2 cgroup that all of the run's living processes are in; empty: none, or the root.
std::string Engine::common_cgroup(uint32_t run) {
  std::string common;
  for (auto& [serial, process] : processes_) {
    if (process->account.run() != run || process->ended || !process->reader.is_open()) continue;
    const Result<std::string> text = process->reader.files().cgroup_text();
    if (!text.ok()) continue;
    const Result<std::string> path = cgroup2_path(text.value);
    if (!path.ok() || path.value == "/") return {};
    if (common.empty()) common = path.value;
    if (path.value != common) return {};
  }
  return common;
}

bool Engine::holds_only(uint32_t run, CgroupCpu& files) {
  const Result<bool> nested = files.has_children();
  const Result<std::vector<int>> members = files.procs();
  if (!nested.ok() || nested.value || !members.ok()) return false;
  for (const int pid : members.value) {
    const Process* member = find_pid(pid);
    if (member != nullptr && member->account.run() == run) continue;
    if (member != nullptr || !just_forked_in(run, pid)) return false;
  }
  return true;
}

// Whether a process that is not known descends from one of the run, so that it will be told of: not one
// of the children from before the binding, nor the agent. One that has gone meanwhile did.
bool Engine::just_forked_in(uint32_t run, int pid) {
  for (int steps = 0; steps < kMostUnknownAncestors && pid != sources_.own_pid; ++steps) {
    Result<ProcessFiles> stranger = ProcessFiles::open(sources_.proc_root.get(), pid);
    if (!stranger.ok()) return true;
    const Result<PidStat> stat = stranger.value.stat();
    if (!stat.ok()) return true;
    const Process* parent = find_pid(stat.value.ppid);
    if (parent != nullptr) {
      const ProcessId id = {pid, stat.value.start_ticks};
      return parent->account.run() == run && parent->children.outside.count(id) == 0;
    }
    if (stat.value.ppid <= 1) return false;
    pid = stat.value.ppid;
  }
  return false;
}

void Engine::check_cgroup(uint32_t run_id, CgroupLedger& ledger) {
  const std::string path = sources_.cgroup2_mount.empty() ? std::string() : common_cgroup(run_id);
  if (path.empty() || anyone_waits(run_id)) {
    ledger.active = false;
    return;
  }
  if (!ledger.active || ledger.path != path) {
    ledger.active = false;
    Result<CgroupCpu> files = CgroupCpu::open(sources_.cgroup2_mount, path);
    if (!files.ok()) return;
    ledger.files = std::move(files.value);
    ledger.path = path;
  }
  if (!holds_only(run_id, ledger.files)) {
    ledger.active = false;
    return;
  }
  if (ledger.active) return;
  const Result<uint64_t> usage = ledger.files.usage_ns();
  if (!usage.ok()) return;
  // Read after the run's figures: the difference can only hide a little, never add.
  ledger.offset_ns = static_cast<__int128>(usage.value) -
                     static_cast<__int128>(table_.run(run_id)->totals.value[kCpu]);
  ledger.active = true;
  ledger.ended = EndedSlots{};
}

}  // namespace lezea
