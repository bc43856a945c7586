// Energy of the CPU: of what the packages and their memory used in an interval a run has the share that it used
// of the CPU time there was, and no more: what idles, and what others use, is the node's. Within the run it goes
// by CPU, to its scopes and to its processes (docs/meaning.md, rule 12).

#include <algorithm>

#include "attribution/apportion.h"
#include "sampler/engine.h"

namespace lezea {

// While a process waits for its ring, what it used meanwhile is still to come.
bool Engine::awaits_rings(uint64_t now_ns) const {
  return std::any_of(processes_.begin(), processes_.end(),
                     [now_ns](const auto& entry) { return entry.second->waits_until_ns > now_ns; });
}

// First in the tick, beside the processes' clocks. Without processes nobody can have used anything. While a ring
// is awaited the interval goes on.
void Engine::read_energy() {
  energy_read_ = false;
  if (sources_.energy == nullptr) return;
  if (processes_.empty()) {
    sources_.energy->forget();
    return;
  }
  const uint64_t now = sources_.clock->monotonic_ns();
  if (awaits_rings(now)) return;
  energy_ = sources_.energy->read(now);
  energy_read_ = true;
}

// After all CPU of the interval was given. More than there was to use comes of intervals that stayed open: then it
// is divided by what is there, so that the runs never have more than the node.
void Engine::charge_energy() {
  if (!energy_read_) return;
  std::vector<Run*> runs;
  std::vector<uint64_t> weights;
  Amount used_ns = 0;
  for (auto& [id, run] : table_.runs()) {
    if (run.processes == 0 && run.totals.uncharged_cpu_ns == 0) continue;
    runs.push_back(&run);
    weights.push_back(run.totals.uncharged_cpu_ns);
    used_ns += run.totals.uncharged_cpu_ns;
  }
  std::vector<Amount> parts(runs.size(), 0);
  if (energy_) {
    const Amount capacity_ns = energy_->capacity_ns;
    weights.push_back(static_cast<uint64_t>(capacity_ns > used_ns ? capacity_ns - used_ns : 0));
    apportion(energy_->energy_uj, weights, parts);
  }
  const std::vector<RunMember> members = members_by_run();
  for (size_t i = 0; i < runs.size(); ++i) {
    std::optional<Amount> energy_uj;
    if (energy_) energy_uj = parts[i];
    charge_members(*runs[i], members, energy_uj);
    table_.charge(*runs[i], energy_uj);
  }
}

// The totals whose sum a run's is, those of its processes that have ended among them.
std::vector<Engine::RunMember> Engine::members_by_run() {
  std::vector<RunMember> members;
  for (auto& [serial, process] : processes_)
    members.push_back({process->account.run(), &process->account.totals()});
  for (ExitedProcess& exited : exited_) {
    if (exited.totals.uncharged_cpu_ns > 0) members.push_back({exited.run, &exited.totals});
  }
  for (auto& [run, extra] : extras_) {
    if (extra.beyond.uncharged_cpu_ns > 0) members.push_back({run, &extra.beyond});
  }
  std::stable_sort(members.begin(), members.end(),
                   [](const RunMember& a, const RunMember& b) { return a.run < b.run; });
  return members;
}

void Engine::charge_members(const Run& run, const std::vector<RunMember>& members,
                            std::optional<Amount> energy_uj) {
  const auto before = [](const RunMember& a, const RunMember& b) { return a.run < b.run; };
  const auto [begin, end] =
      std::equal_range(members.begin(), members.end(), RunMember{run.id, nullptr}, before);
  if (begin == end) return;
  std::vector<uint64_t> weights;
  std::vector<Amount> parts(static_cast<size_t>(end - begin), 0);
  for (auto member = begin; member != end; ++member)
    weights.push_back(member->totals->uncharged_cpu_ns);
  if (energy_uj) apportion(*energy_uj, weights, parts);
  for (auto member = begin; member != end; ++member) {
    if (energy_uj) member->totals->add(kCpuEnergy, parts[static_cast<size_t>(member - begin)]);
    member->totals->uncharged_cpu_ns = 0;
  }
}

}  // namespace lezea
