// The GPUs: what each device spent since it was read last goes to who held it and worked on it meanwhile, those that
// have gone since included; what is of processes in no run, and what nobody held, stays the node's
// (docs/meaning.md, rule 13). The driver is never asked here: its own thread does, and an answer comes some time after
// what it tells of.

#include <algorithm>
#include <tuple>
#include <utility>

#include "attribution/apportion.h"
#include "sampler/engine.h"

namespace lezea {
namespace {

// Of a process's start time.
constexpr uint64_t kStartTickNs = 10'000'000;
// Ended processes that may still get something; beyond it the oldest get nothing more, and the node has it. Those that
// are known to have held a GPU are kept apart: nobody's children drive them out.
constexpr size_t kMostDeparted = 4'096;
// /proc/PID/comm has 15 characters.
constexpr const char* kMpsServer = "nvidia-cuda-mps";
// Without news for so long, what is remembered is of no use any more.
constexpr uint64_t kStaleNs = 40'000'000'000;

uint64_t overlap(uint64_t from_a, uint64_t to_a, uint64_t from_b, uint64_t to_b) {
  const uint64_t from = std::max(from_a, from_b);
  const uint64_t to = std::min(to_a, to_b);
  return to > from ? to - from : 0;
}

}  // namespace

// An index keeps its device.
void Engine::map_device(uint32_t session_handle, size_t index, const std::string& uuid) {
  const auto session = sessions_.find(session_handle);
  if (session == sessions_.end() || index >= kMostSessionDevices) return;
  std::vector<SessionDevice>& devices = session->second.devices;
  if (devices.size() <= index) devices.resize(index + 1);
  if (!devices[index].uuid.empty()) return;
  devices[index].uuid = uuid;
  Process* process = find(session->second.process);
  if (process == nullptr) return;
  // Those of other devices wait on.
  for (const RingRecord& record : std::exchange(session->second.early_gpu_times, {}))
    claim_gpu_time(*process, record);
}

void Engine::claim_gpu_time(Process& process, const RingRecord& record) {
  const auto session = sessions_.find(process.session);
  if (session == sessions_.end() || record.device >= kMostSessionDevices) return;
  std::vector<SessionDevice>& devices = session->second.devices;
  if (devices.size() <= record.device) devices.resize(record.device + 1);
  SessionDevice& device = devices[record.device];
  // The ring may be read before what was said on the socket.
  std::vector<RingRecord>& early = session->second.early_gpu_times;
  if (device.uuid.empty() && early.size() < kMostEarlyGpuTimes) return early.push_back(record);
  // One that is not known is looked for again when there is news.
  if (device.gpu == 0 && device.looked_ns != gpus_taken_ns_) {
    device.looked_ns = gpus_taken_ns_;
    device.gpu = gpus_.find(device.uuid).value_or(0);
  }
  const std::optional<uint32_t> slot = slot_of_record(process, record);
  if (device.gpu == 0 || !slot || record.scope == 0) {
    ++undefined_records_;
    return;
  }
  process.account.claim_gpu(device.gpu, table_.slot_or_unattributed(process.account.run(), *slot),
                            record.value);
}

// First in the tick: what it tells is over by the time that the processes are read. Until it is known whether there is a
// GPU, everything is remembered: an agent that has just begun goes on with intervals that began before it, and ends
// none before the rings have told where that time went.
void Engine::read_gpus() {
  gpu_news_.reset();
  if (!sources_.gpus) return;
  std::shared_ptr<const nvml::GpuSnapshot> newest = sources_.gpus->newest();
  has_gpus_ = !newest->devices.empty();
  remember(has_gpus_ || newest->state == nvml::GpuState::kStarting);
  if (!has_gpus_ || newest->t_ns <= gpus_taken_ns_) return;
  if (awaits_rings(sources_.clock->monotonic_ns())) return;
  gpus_taken_ns_ = newest->t_ns;
  gpu_news_ = std::move(newest);
}

// Without a driver there is nothing to remember for: what comes with the next one is of other counters.
void Engine::remember(bool wanted) {
  if (wanted == std::exchange(remembers_, wanted)) return;
  for (auto& [serial, process] : processes_) {
    if (wanted) {
      process->account.keep_history();
    } else {
      process->account.forget_gpus();
    }
  }
  if (!wanted) departed_ = {};
}

void Engine::want_gpu_lists() {
  if (has_gpus_) sources_.gpus->want_lists();
}

// What is told of its last moments comes when it is gone. Of an end that nobody saw it is known that it lived until it was
// read last.
void Engine::depart(Process& process) {
  if (!remembers_) return;
  const bool held_gpu = process.account.holds_gpu();
  if (held_gpu) sources_.gpus->want_lists();
  const uint64_t to_ns = process.end_ns() != 0 ? process.end_ns() : process.account.last_close_ns();
  std::deque<Departed>& departed = departed_[held_gpu ? 1 : 0];
  departed.push_back({process.pid, began_ns(process), process.started_ns, to_ns, !process.ended,
                      std::move(process.account)});
  // Told already: what comes now is the run's beyond it.
  departed.back().account.totals() = Totals{};
  if (departed.size() > kMostDeparted) departed.pop_front();
}

// CLOCK_MONOTONIC of a start time as /proc tells it, at most so much before it; 0: not known.
uint64_t Engine::monotonic_of(uint64_t start_ticks) const {
  const uint64_t began_boot_ns = start_ticks * kStartTickNs;
  const uint64_t offset_ns = sources_.clock->boot_offset_ns();
  return start_ticks == 0 || began_boot_ns <= offset_ns ? 0 : began_boot_ns - offset_ns;
}

// When the process itself began, which may be long before it was bound.
uint64_t Engine::began_ns(const Process& process) const {
  const uint64_t began = monotonic_of(process.start_ticks);
  return began == 0 || began + kStartTickNs >= process.started_ns ? process.started_ns : began;
}

// Those of our runs that had this pid in the interval: more than one where it moved between runs, or was taken again.
Engine::GpuTenants Engine::tenants_of(const GpuHolder& holder, const GpuInterval& interval) {
  GpuTenants found;
  found.from_ns = interval.to_ns;
  found.to_ns = interval.from_ns;
  const int pid = static_cast<int>(holder.pid);
  uint64_t last_ns = 0;
  bool goes_on = false;  // after our last one
  const auto add = [&](ProcessAccount& account, uint64_t began_at, uint64_t from, uint64_t to,
                       bool lives) {
    // A list from before it began has another, who had the number.
    if (holder.listed && holder.listed_ns < began_at) return;
    GpuTenant tenant;
    tenant.account = &account;
    tenant.from_ns = std::max(from, interval.from_ns);
    tenant.held_ns = overlap(from, to, interval.from_ns, interval.to_ns);
    if (tenant.held_ns == 0 || table_.run(account.run()) == nullptr) return;
    found.from_ns = std::min(found.from_ns, std::max(began_at, interval.from_ns));
    found.to_ns = std::max(found.to_ns, std::min(to, interval.to_ns));
    if (to >= last_ns) goes_on = lives;
    last_ns = std::max(last_ns, to);
    found.tenants.push_back(std::move(tenant));
  };
  for (std::deque<Departed>& some : departed_) {
    for (Departed& departed : some) {
      if (departed.pid == pid)
        add(departed.account, departed.began_ns, departed.from_ns, departed.to_ns, departed.lives);
    }
  }
  if (Process* process = find_pid(pid)) {
    const uint64_t to = process->end_ns() != 0 ? process->end_ns() : UINT64_MAX;
    add(process->account, began_ns(*process), process->started_ns, to, false);
  }
  // Whoever holds the device under this number after our last one had gone is another.
  if (goes_on || (holder.listed && holder.listed_ns > last_ns)) found.to_ns = interval.to_ns;
  return found;
}

// Who began in the interval, or has gone, held nothing before, or since.
void Engine::note_stay(const GpuInterval& interval, const GpuTenants& ours, GpuHolder& holder) {
  if (!holder.listed || holder.pid == 0) return;
  uint64_t from_ns = ours.from_ns;
  uint64_t to_ns = ours.to_ns;
  if (ours.tenants.empty()) {
    if (holder.listed_ns <= interval.from_ns) return;  // a stranger that was there already
    Result<ProcessFiles> files =
        ProcessFiles::open(sources_.proc_root.get(), static_cast<int>(holder.pid));
    const Result<PidStat> stat =
        files.ok() ? files.value.stat() : Result<PidStat>::fail(ReadStatus::kGone);
    from_ns = std::max(interval.from_ns, stat.ok() ? monotonic_of(stat.value.start_ticks) : 0);
    to_ns = interval.to_ns;
  }
  if (from_ns >= to_ns) return;  // another's by now
  const auto ppm = [&interval](uint64_t t_ns) {
    const Amount since = Amount{t_ns - interval.from_ns} * 1'000'000;
    return static_cast<uint32_t>(since / (interval.to_ns - interval.from_ns));
  };
  holder.to_ppm = std::max(ppm(to_ns), 1u);
  holder.from_ppm = std::min(ppm(from_ns), holder.to_ppm - 1);
}

// None of ours, and root's or a client's user: a name can be had for the asking.
bool Engine::is_mps_server(const GpuHolder& holder, const GpuTenants& ours,
                           const GpuInterval& interval) {
  if (holder.mps_client || !ours.tenants.empty()) return false;
  const auto open = [this](uint32_t pid) {
    return ProcessFiles::open(sources_.proc_root.get(), static_cast<int>(pid));
  };
  Result<ProcessFiles> server = open(holder.pid);
  if (!server.ok()) return false;
  const Result<PidStat> stat = server.value.stat();
  const Result<PidStatus> status = server.value.status();
  if (!stat.ok() || !status.ok() || stat.value.comm != kMpsServer) return false;
  if (status.value.uid == 0) return true;
  return std::any_of(interval.holders.begin(), interval.holders.end(),
                     [&](const GpuHolder& client) {
                       if (!client.mps_client) return false;
                       Result<ProcessFiles> files = open(client.pid);
                       if (!files.ok()) return false;
                       const Result<PidStatus> of_client = files.value.status();
                       return of_client.ok() && of_client.value.uid == status.value.uid;
                     });
}

// One that has gone since is in no list any more, and held what it held until then.
void Engine::add_departed_holders(GpuInterval& interval) {
  const auto concerns = [&interval](uint32_t gpu) {
    const auto& instances = interval.spent.instances;
    return gpu == interval.gpu ||
           std::any_of(instances.begin(), instances.end(),
                       [gpu](const GpuInstance& instance) { return instance.gpu == gpu; });
  };
  for (const Departed& departed : departed_[1]) {
    if (overlap(departed.from_ns, departed.to_ns, interval.from_ns, interval.to_ns) == 0) continue;
    for (const auto& [gpu, bytes] : departed.account.gpu_memory()) {
      const auto pid = static_cast<uint32_t>(departed.pid);
      auto known = std::find_if(
          interval.holders.begin(), interval.holders.end(),
          [pid, gpu = gpu](const auto& holder) { return holder.pid == pid && holder.gpu == gpu; });
      if (!concerns(gpu) || (known != interval.holders.end() && known->listed)) continue;
      if (known == interval.holders.end()) {
        GpuHolder holder;
        holder.pid = pid;
        holder.gpu = gpu;
        known = interval.holders.insert(known, holder);
      }
      known->listed = true;
      known->listed_ns = departed.to_ns;  // of nobody who began after it
      known->memory_bytes = bytes;
    }
  }
}

// A run has held the device for as long as any process of it did, in parts by how long each did.
void Engine::give_allocated(std::vector<GpuTenant>& tenants) {
  const auto order = [](const GpuTenant& tenant) {
    return std::tuple(tenant.account->run(), tenant.use.gpu, tenant.from_ns);
  };
  std::stable_sort(tenants.begin(), tenants.end(),
                   [&order](const auto& a, const auto& b) { return order(a) < order(b); });
  for (size_t begin = 0; begin < tenants.size();) {
    size_t end = begin;
    uint64_t covered_until = 0;
    uint64_t all_ns = 0;
    std::vector<uint64_t> held;
    for (; end < tenants.size() && tenants[end].account->run() == tenants[begin].account->run() &&
           tenants[end].use.gpu == tenants[begin].use.gpu;
         ++end) {
      const GpuTenant& tenant = tenants[end];
      const uint64_t held_ns = tenant.listed ? tenant.held_ns : 0;
      const uint64_t until = tenant.from_ns + held_ns;
      const uint64_t from = std::max(covered_until, tenant.from_ns);
      if (until > from) all_ns += until - from;
      covered_until = std::max(covered_until, until);
      held.push_back(held_ns);
    }
    std::vector<Amount> parts;
    apportion(all_ns, held, parts);
    for (size_t i = begin; i < end; ++i) {
      if (tenants[i].listed) tenants[i].use.allocated_ns = parts[i - begin];
    }
    begin = end;
  }
}

// What one holder had goes to the runs that it was of; to others, what it was before it was bound or after it left.
void Engine::share_among_tenants(const GpuInterval& interval, const GpuHolder& holder,
                                 const GpuPart& part, GpuTenants& ours,
                                 std::vector<GpuTenant>& all) {
  std::vector<GpuTenant>& tenants = ours.tenants;
  std::vector<uint64_t> weights;
  uint64_t ours_ns = 0;
  for (const GpuTenant& tenant : tenants) {
    weights.push_back(tenant.held_ns);
    ours_ns += tenant.held_ns;
  }
  const uint64_t alive_ns = tenants.empty() ? 1 : ours.to_ns - ours.from_ns;
  weights.push_back(alive_ns > ours_ns ? alive_ns - ours_ns : 0);
  std::vector<Amount> work_uj;
  std::vector<Amount> held_uj;
  std::vector<Amount> active_ns;
  apportion(part.work_energy_uj, weights, work_uj);
  apportion(part.held_energy_uj, weights, held_uj);
  apportion(part.active_ns, weights, active_ns);
  const GpuPart others{work_uj.back(), held_uj.back(), active_ns.back()};
  gpus_.note(&GpuBooks::others, interval, holder.gpu, others);
  for (size_t i = 0; i < tenants.size(); ++i) {
    GpuTenant& tenant = tenants[i];
    gpus_.note(&GpuBooks::runs, interval, holder.gpu, {work_uj[i], held_uj[i], active_ns[i]});
    tenant.listed = holder.listed;
    GpuUse& use = tenant.use;
    use.gpu = holder.gpu;
    use.from_ns = interval.from_ns;
    use.to_ns = interval.to_ns;
    use.work_energy_uj = work_uj[i];
    if (interval.spent.energy_uj) use.energy_uj = work_uj[i] + held_uj[i];
    if (interval.spent.knows_active(holder.gpu)) use.active_ns = active_ns[i];
    if (holder.memory_bytes) use.memory_byte_ns = Amount{*holder.memory_bytes} * tenant.held_ns;
    all.push_back(std::move(tenant));
  }
}

void Engine::divide_interval(GpuInterval& interval) {
  add_departed_holders(interval);
  const bool any_client = std::any_of(interval.holders.begin(), interval.holders.end(),
                                      [](const GpuHolder& holder) { return holder.mps_client; });
  std::vector<GpuTenants> ours;
  for (GpuHolder& holder : interval.holders) {
    ours.push_back(tenants_of(holder, interval));
    holder.mps_server = any_client && is_mps_server(holder, ours.back(), interval);
    note_stay(interval, ours.back(), holder);
  }
  const GpuParts parts = divide_gpu(interval.spent, interval.holders);
  gpus_.note_nobody(interval, parts);
  std::vector<GpuTenant> all;
  for (size_t i = 0; i < interval.holders.size(); ++i)
    share_among_tenants(interval, interval.holders[i], parts.holders[i], ours[i], all);
  give_allocated(all);
  for (GpuTenant& tenant : all) tenant.account->give_gpu(tenant.use, table_);
}

// After the processes' intervals were closed: where their time went is known up to now.
void Engine::charge_gpus() {
  const uint64_t now = sources_.clock->monotonic_ns();
  if (!gpu_news_) {
    // A call hangs.
    if (has_gpus_ && now > gpus_taken_ns_ + kStaleNs) forget_gpus(now - kStaleNs, true);
    return;
  }
  for (GpuInterval& interval : gpus_.take(*gpu_news_, sources_.initial_pid_namespace))
    divide_interval(interval);
  set_gpu_memory();
  for (std::deque<Departed>& some : departed_) {
    for (Departed& departed : some) tell_of_departed(departed);
  }
  forget_gpus(gpus_.open_since_ns(now), false);
}

// Of who has the number now, where the list is of its time.
void Engine::set_gpu_memory() {
  auto memory = gpus_.memory_by_pid(*gpu_news_, sources_.initial_pid_namespace);
  for (auto& [serial, process] : processes_) {
    std::vector<std::pair<uint32_t, uint64_t>> held;
    const auto found = memory.find(static_cast<uint32_t>(process->pid));
    if (found != memory.end() && find_pid(process->pid) == process.get()) {
      for (const GpuMemory& one : found->second)
        if (one.listed_ns >= began_ns(*process)) held.emplace_back(one.gpu, one.bytes);
    }
    process->account.set_gpu_memory(std::move(held));
  }
}

void Engine::tell_of_departed(Departed& departed) {
  const Totals& had = departed.account.totals();
  if (had.known == 0) return;
  Totals& beyond = extras_[departed.account.run()].beyond;
  for (int column = 0; column < kColumnCount; ++column) {
    if ((had.known & (uint32_t{1} << column)) != 0)
      beyond.add(static_cast<Column>(column), had.value[column]);
  }
  departed.account.totals() = Totals{};
}

void Engine::forget_gpus(uint64_t before_ns, bool holders_too) {
  for (auto& [serial, process] : processes_) {
    process->account.forget_history(before_ns);
    if (holders_too) process->account.set_gpu_memory({});
  }
  for (std::deque<Departed>& some : departed_) {
    while (!some.empty() && some.front().to_ns <= before_ns) some.pop_front();
  }
}

}  // namespace lezea
