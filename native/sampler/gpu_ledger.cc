// See gpu_ledger.h.

#include "sampler/gpu_ledger.h"

#include <algorithm>
#include <utility>

#include "nvml/pid_trust.h"

namespace lezea {
namespace {

using nvml::GpuDevice;

// A list that is older says nothing of now: they are read every 5 s.
constexpr uint64_t kOldestListNs = 30'000'000'000;
// A reading that is this much later than the one before ends a silence.
constexpr uint64_t kLongestIntervalNs = 40'000'000'000;
// What a device may draw at most, for a counter of which it is not known whether it was set back. Milliwatts.
constexpr uint64_t kMostPowerMilliwatts = 3'000'000;
constexpr uint32_t kMostStoredMarks = 4'096;

std::string without_prefix(const std::string& uuid) {
  const size_t dash = uuid.find('-');
  const bool prefixed =
      dash == 3 && (uuid.compare(0, 3, "GPU") == 0 || uuid.compare(0, 3, "MIG") == 0);
  return prefixed ? uuid.substr(dash + 1) : uuid;
}

bool is_cut(const GpuDevice& device) { return device.facts.mig_mode == true; }

bool is_instance_of(const GpuDevice& device, const GpuDevice& parent) {
  return device.facts.mig && device.facts.mig->parent_uuid == parent.facts.uuid;
}

uint32_t slices_of(const nvml::MigFacts& mig) {
  return mig.compute_instance_slices.value_or(mig.gpu_instance_slices.value_or(1));
}

// GPM's ratio of an instance, where it is of this interval; of a long silence it would be of its last minute.
std::optional<uint32_t> active_since(const GpuDevice& instance, uint64_t from_ns, uint64_t to_ns) {
  if (!instance.figures || to_ns > from_ns + kLongestIntervalNs) return std::nullopt;
  const nvml::DeviceFigures& now = *instance.figures;
  if (!now.gpm_to_ns || *now.gpm_to_ns <= from_ns || !now.gpm_graphics_active_ppm)
    return std::nullopt;
  return std::min(*now.gpm_graphics_active_ppm, 1'000'000u);
}

bool is_current(const GpuDevice& device, uint64_t now_ns) {
  return device.processes && device.processes->t_ns + kOldestListNs >= now_ns;
}

GpuHolder* find_holder(std::vector<GpuHolder>& holders, uint32_t gpu, uint32_t pid) {
  const auto found = std::find_if(holders.begin(), holders.end(), [&](const GpuHolder& holder) {
    return holder.pid == pid && holder.gpu == gpu;
  });
  return found == holders.end() ? nullptr : &*found;
}

// What cannot be told whose it is, or is of processes that this namespace does not see, is nobody's in particular: those
// that are seen must not pay for it.
void distrust(const nvml::PidTrust& trust, const nvml::DeviceFigures& figures, uint32_t gpu,
              std::vector<GpuHolder>& holders) {
  GpuHolder hidden;
  hidden.gpu = gpu;
  hidden.listed = true;
  uint64_t seen_bytes = 0;
  std::vector<GpuHolder> kept;
  for (GpuHolder& holder : holders) {
    const bool told = holder.listed ? trust.lists : trust.unlisted_work;
    if (!told || !trust.work) hidden.work += std::exchange(holder.work, 0);
    if (!told) continue;
    if (!trust.memory) holder.memory_bytes.reset();
    seen_bytes += holder.memory_bytes.value_or(0);
    kept.push_back(holder);
  }
  const std::optional<uint64_t> used = figures.memory_used_bytes;
  if (used && trust.memory) hidden.memory_bytes = *used > seen_bytes ? *used - seen_bytes : 0;
  kept.push_back(hidden);
  holders.swap(kept);
}

}  // namespace

void GpuLedger::name(uint32_t gpu, const std::string& uuid) {
  if (gpu == 0 || books_.count(gpu) != 0) return;  // a number means one device
  numbers_.emplace(uuid, gpu);
  GpuBooks& books = books_[gpu];
  books.gpu = gpu;
  books.uuid = uuid;
}

uint32_t GpuLedger::number_of(const std::string& uuid) {
  const auto known = numbers_.find(uuid);
  if (known != numbers_.end()) return known->second;
  const uint32_t gpu = books_.empty() ? 1 : books_.rbegin()->first + 1;
  name(gpu, uuid);
  return gpu;
}

std::optional<uint32_t> GpuLedger::find(const std::string& uuid) const {
  for (const auto& [known, gpu] : numbers_) {
    if (without_prefix(known) == without_prefix(uuid)) return gpu;
  }
  return std::nullopt;
}

std::optional<GpuSpending> GpuLedger::spent_since(const Mark& mark, const GpuDevice& device) const {
  const nvml::DeviceFigures& now = *device.figures;
  if (now.t_ns <= mark.t_ns) return std::nullopt;
  if (!mark.restored && mark.epoch != device.counter_epoch) return std::nullopt;
  const uint64_t elapsed_ns = now.t_ns - mark.t_ns;
  // How busy it was is told of its last second: of a long silence nothing is known but what its counter says.
  const bool silent = mark.restored || elapsed_ns > kLongestIntervalNs;
  GpuSpending spent;
  spent.length_ns = elapsed_ns;
  if (mark.energy_uj && now.energy_uj && *now.energy_uj >= *mark.energy_uj) {
    spent.energy_uj = *now.energy_uj - *mark.energy_uj;
    // A milliwatt for a millisecond is a microjoule.
    const Amount most_uj = Amount{elapsed_ns} / 1'000'000 * kMostPowerMilliwatts;
    if (silent && *spent.energy_uj > most_uj) spent.energy_uj.reset();
  }
  if (now.utilization_percent && !silent) {
    const uint64_t percent = std::min(*now.utilization_percent, 100u);
    spent.active_ns = elapsed_ns / 100 * percent + elapsed_ns % 100 * percent / 100;
  }
  return spent;
}

void GpuLedger::add_holders(const GpuDevice& device, uint32_t gpu, uint64_t to_ns,
                            std::vector<GpuHolder>& holders) const {
  if (!is_current(device, to_ns)) return;
  for (const nvml::GpuProcess& process : device.processes->processes) {
    if (GpuHolder* known = find_holder(holders, gpu, process.pid)) {
      known->mps_client |= process.mps;
      known->memory_bytes = std::max(known->memory_bytes, process.memory_bytes);
      continue;
    }
    GpuHolder holder;
    holder.pid = process.pid;
    holder.gpu = gpu;
    holder.listed = true;
    holder.mps_client = process.mps;
    holder.memory_bytes = process.memory_bytes;
    holder.listed_ns = device.processes->t_ns;
    holders.push_back(holder);
  }
}

void GpuLedger::add_work(const nvml::ProcessShares& shares, uint32_t gpu,
                         std::vector<GpuHolder>& holders) const {
  for (const nvml::ProcessShare& share : shares.shares) {
    GpuHolder* holder = find_holder(holders, gpu, share.pid);
    if (holder == nullptr) {
      GpuHolder fresh;
      fresh.pid = share.pid;
      fresh.gpu = gpu;
      holders.push_back(fresh);
      holder = &holders.back();
    }
    holder->work += share.sm_percent;
  }
}

// Each holder is in the list of its instance.
void GpuLedger::add_instances(const nvml::GpuSnapshot& snapshot, const GpuDevice& device,
                              GpuInterval& interval) {
  for (const GpuDevice& instance : snapshot.devices) {
    if (!is_instance_of(instance, device)) continue;
    const uint32_t gpu = number_of(instance.facts.uuid);
    const nvml::MigFacts& mig = *instance.facts.mig;
    interval.spent.instances.push_back(
        {gpu, slices_of(mig), active_since(instance, interval.from_ns, interval.to_ns)});
    interval.spent.slices = std::max(interval.spent.slices, mig.parent_slices.value_or(0));
    add_holders(instance, gpu, interval.to_ns, interval.holders);
  }
}

// There is no new reading, or a call for the counter failed: what is told after that is of the whole interval.
bool GpuLedger::goes_on(const Mark& mark, const GpuDevice& device) {
  const nvml::DeviceFigures& now = *device.figures;
  if (now.t_ns == mark.t_ns) return true;
  const bool lacks_energy = mark.energy_uj && !now.energy_uj;
  const bool same_counter = mark.restored || mark.epoch == device.counter_epoch;
  return lacks_energy && same_counter && now.t_ns <= mark.t_ns + kLongestIntervalNs;
}

// The interval from a mark to this reading; samples of work count in one interval.
std::optional<GpuInterval> GpuLedger::since(const Mark& mark, const nvml::GpuSnapshot& snapshot,
                                            const GpuDevice& device) {
  std::optional<GpuSpending> spent = spent_since(mark, device);
  if (!spent) return std::nullopt;
  GpuInterval interval;
  interval.gpu = number_of(device.facts.uuid);
  interval.from_ns = mark.t_ns;
  interval.to_ns = device.figures->t_ns;
  interval.spent = std::move(*spent);
  if (is_cut(device)) {
    add_instances(snapshot, device, interval);
    if (mark.restored)
      for (GpuInstance& instance : interval.spent.instances) instance.active_ppm.reset();
    return interval;
  }
  add_holders(device, interval.gpu, interval.to_ns, interval.holders);
  if (device.shares && device.shares->to_ns > mark.shares_to_ns)
    add_work(*device.shares, interval.gpu, interval.holders);
  return interval;
}

std::vector<GpuInterval> GpuLedger::take(const nvml::GpuSnapshot& snapshot,
                                         bool initial_pid_namespace) {
  const nvml::PidTrust trust =
      nvml::pid_trust(initial_pid_namespace, snapshot.driver.driver_version);
  std::vector<GpuInterval> ended;
  for (const GpuDevice& device : snapshot.devices) {
    const uint32_t gpu = number_of(device.facts.uuid);
    if (device.facts.mig || !device.figures) continue;
    const nvml::DeviceFigures& now = *device.figures;
    const auto known = marks_.find(gpu);
    if (known != marks_.end() && goes_on(known->second, device)) continue;
    std::optional<GpuInterval> interval;
    if (known != marks_.end()) interval = since(known->second, snapshot, device);
    Mark& mark = marks_[gpu];
    mark.restored = false;
    mark.epoch = device.counter_epoch;
    mark.t_ns = now.t_ns;
    mark.energy_uj = now.energy_uj;
    if (device.shares) mark.shares_to_ns = device.shares->to_ns;
    if (!interval) continue;
    if (!initial_pid_namespace) distrust(trust, now, gpu, interval->holders);
    ended.push_back(std::move(*interval));
  }
  return ended;
}

std::map<uint32_t, std::vector<GpuMemory>> GpuLedger::memory_by_pid(
    const nvml::GpuSnapshot& snapshot, bool initial_pid_namespace) {
  const nvml::PidTrust trust =
      nvml::pid_trust(initial_pid_namespace, snapshot.driver.driver_version);
  std::map<uint32_t, std::vector<GpuMemory>> memory;
  if (!trust.lists || !trust.memory) return memory;
  for (const GpuDevice& device : snapshot.devices) {
    if (is_cut(device)) continue;
    const uint32_t gpu = number_of(device.facts.uuid);
    std::vector<GpuHolder> holders;
    add_holders(device, gpu, snapshot.t_ns, holders);
    for (const GpuHolder& holder : holders) {
      if (holder.memory_bytes)
        memory[holder.pid].push_back({gpu, *holder.memory_bytes, holder.listed_ns});
    }
  }
  return memory;
}

void GpuLedger::note(GpuBooks::Line GpuBooks::* line, const GpuInterval& interval, uint32_t gpu,
                     const GpuPart& part) {
  (books_.at(interval.gpu).*line).energy_uj += part.work_energy_uj + part.held_energy_uj;
  (books_.at(gpu).*line).active_ns += part.active_ns;
}

void GpuLedger::note_nobody(const GpuInterval& interval, const GpuParts& parts) {
  const GpuSpending& spent = interval.spent;
  books_.at(interval.gpu).energy_known |= spent.energy_uj.has_value();
  books_.at(interval.gpu).active_known |= spent.active_ns.has_value();
  for (const GpuInstance& instance : spent.instances)
    books_.at(instance.gpu).active_known |= instance.active_ppm.has_value();
  GpuPart nobody = parts.nobody;
  for (const GpuPartOfInstance& unheld : parts.unheld) {
    nobody.active_ns -= unheld.active_ns;
    books_.at(unheld.gpu).nobody.active_ns += unheld.active_ns;
  }
  note(&GpuBooks::nobody, interval, interval.gpu, nobody);
}

uint64_t GpuLedger::open_since_ns(uint64_t now_ns) const {
  uint64_t since_ns = now_ns;
  for (const auto& [gpu, mark] : marks_) {
    if (mark.t_ns + kLongestIntervalNs >= now_ns) since_ns = std::min(since_ns, mark.t_ns);
  }
  return since_ns;
}

void GpuLedger::encode(ByteWriter& out) const {
  uint32_t count = 0;
  for (const auto& [gpu, mark] : marks_) count += mark.energy_uj ? 1 : 0;
  out.u32(count);
  for (const auto& [gpu, mark] : marks_) {
    if (!mark.energy_uj) continue;
    out.u32(gpu);
    out.u64(mark.t_ns);
    out.u64(*mark.energy_uj);
  }
}

void GpuLedger::decode(ByteReader& in) {
  const uint32_t count = in.u32();
  for (uint32_t i = 0; i < count && i < kMostStoredMarks && in.ok(); ++i) {
    const uint32_t gpu = in.u32();
    Mark mark;
    mark.t_ns = in.u64();
    mark.energy_uj = in.u64();
    mark.restored = true;
    if (!in.ok() || books_.count(gpu) == 0) continue;
    const auto known = marks_.find(gpu);
    if (known == marks_.end() || (known->second.restored && known->second.t_ns < mark.t_ns))
      marks_[gpu] = mark;
  }
}

}  // namespace lezea
