// See machine.h.
#include "nvml_double/machine.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "nvml_double/control.h"

namespace lezea::nvml_double {
namespace {

constexpr size_t kRingSamples = 72;
constexpr uint64_t kSamplePeriodMs = 139;
constexpr size_t kUtilizationWindowMs = 1000;
constexpr uint64_t kCounterPeriodMs = 100;

uint64_t real_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

bool finds_devices(const std::string& symbol) {
  return symbol == "nvmlDeviceGetUUID" || symbol == "nvmlDeviceGetHandleByIndex_v2";
}

bool applies(const Trouble& trouble, const std::string& symbol, int64_t gpu, uint64_t t_ms) {
  if (t_ms < trouble.begin_ms || t_ms >= trouble.end_ms) return false;
  if (trouble.gpu >= 0 && trouble.gpu != gpu) return false;
  if (trouble.symbol == "*") return gpu >= 0 && !finds_devices(symbol);
  return trouble.symbol == symbol;
}

// Those that are active in this millisecond have it in turn; null: nobody is. `instance`: those of one GPU instance.
const Process* owner_of(const Gpu& gpu, uint64_t t_ms, std::optional<uint32_t> instance) {
  std::vector<const Process*> active;
  for (const Process& process : gpu.processes) {
    if (instance && process.gpu_instance != *instance) continue;
    if (process.active(t_ms)) active.push_back(&process);
  }
  return active.empty() ? nullptr : active[t_ms % active.size()];
}

}  // namespace

std::string file_beside(const char* name) {
  Dl_info library{};
  if (dladdr(reinterpret_cast<void*>(&lezea_double_load), &library) == 0) return "";
  const std::string path = library.dli_fname;
  const std::string file = path.substr(0, path.rfind('/') + 1) + name;
  return access(file.c_str(), R_OK) == 0 ? file : "";
}

void Activity::add_ms(const Process& process) {
  busy_us += 1000;
  sm_us += uint64_t{10} * process.sm_percent;
  occupancy_us += uint64_t{10} * process.occupancy_percent;
  bandwidth_us += uint64_t{10} * process.bandwidth_percent;
}

Machine& Machine::get() {
  // Never destroyed: a thread may still be in a call when the process ends.
  static Machine* const machine = new Machine;
  return *machine;
}

int Machine::load(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  scenario_ = Scenario();
  const int wrong_line = read_scenario(path, scenario_);
  loaded_ = wrong_line == 0;
  released_ = false;
  t_ms_ = loaded_at_ms_ = down_until_ms_ = 0;
  begun_real_ms_ = real_ms();
  users_ = 0;
  ++driver_;
  states_.assign(scenario_.gpus.size(), GpuState());
  calls_.clear();
  gpm_samples_.clear();
  registered_ = false;
  events_.clear();
  changed_.notify_all();
  return wrong_line;
}

bool Machine::needs_scenario() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !loaded_;
}

void Machine::advance_ms(uint64_t ms) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint64_t i = 0; i < ms; ++i) step();
  changed_.notify_all();
}

void Machine::wait(std::unique_lock<std::mutex>& lock, std::optional<uint64_t> timeout_ms,
                   const std::function<bool()>& condition) {
  const uint64_t begun_ms = real_ms();
  // A clock that nobody advances here must be looked at.
  const uint64_t look_ms = 5;
  while (!condition()) {
    const uint64_t waited_ms = real_ms() - begun_ms;
    if (timeout_ms && waited_ms >= *timeout_ms) return;
    const uint64_t left_ms = timeout_ms ? *timeout_ms - waited_ms : look_ms;
    changed_.wait_for(lock, std::chrono::milliseconds(std::min(left_ms, look_ms)));
    catch_up();
  }
}

// To the time of the scenario's clock, where that is not advanced by hand.
void Machine::catch_up() {
  uint64_t to_ms = scenario_.real_time ? real_ms() - begun_real_ms_ : 0;
  static const std::string beside = file_beside("clock");
  const char* const named = std::getenv("LEZEA_NVML_CLOCK");
  const std::string path = named != nullptr ? named : beside;
  if (!path.empty()) std::ifstream(path) >> to_ms;
  while (t_ms_ < to_ms) step();
}

void Machine::release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  released_ = true;
  changed_.notify_all();
}

uint64_t Machine::users() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return users_;
}

uint64_t Machine::calls(const char* symbol) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (symbol != nullptr) return calls_[symbol];
  uint64_t all = 0;
  for (const auto& [name, count] : calls_) all += count;
  return all;
}

uint64_t Machine::truth(const std::string& what, uint32_t gpu, uint32_t pid) {
  const std::lock_guard<std::mutex> lock(mutex_);
  GpuState& state = states_.at(gpu);
  if (what == "energy_uj") return state.energy_uj;
  if (what == "counted_energy_uj") return state.counted_energy_uj;
  if (what == "busy_us") return state.busy_us;
  if (what == "sm_us") return state.activity.sm_us;
  if (what == "occupancy_us") return state.activity.occupancy_us;
  if (what == "bandwidth_us") return state.activity.bandwidth_us;
  if (what == "instance_busy_us") return state.instance_activity[pid].busy_us;
  if (what == "instance_sm_us") return state.instance_activity[pid].sm_us;
  return state.process_us[pid];
}

std::optional<nvml::Return> Machine::enter(std::unique_lock<std::mutex>& lock, const char* symbol,
                                           int64_t gpu) {
  catch_up();
  ++calls_[symbol];
  std::optional<nvml::Return> failure;
  for (size_t i = 0; i < scenario_.troubles.size(); ++i) {
    const Trouble trouble = scenario_.troubles[i];
    if (!applies(trouble, symbol, gpu, t_ms_)) continue;
    if (!trouble.hang) {
      if (!failure) failure = trouble.result;
      continue;
    }
    wait(lock, std::nullopt, [&] { return released_ || !applies(trouble, symbol, gpu, t_ms_); });
  }
  const std::string name = symbol;
  if (users_ == 0 && name != "nvmlInit_v2") return nvml::Return::kUninitialized;
  return failure;
}

nvml::Return Machine::init() {
  if (!loaded_) return nvml::Return::kDriverNotLoaded;
  if (t_ms_ < down_until_ms_) return nvml::Return::kDriverNotLoaded;
  ++users_;
  return nvml::Return::kSuccess;
}

nvml::Return Machine::shutdown() {
  --users_;
  return nvml::Return::kSuccess;
}

// Never dereferenced; a handle of an earlier driver is no handle any more.
nvml::DeviceHandle Machine::handle(uint32_t gpu, uint32_t mig_number) const {
  return reinterpret_cast<nvml::DeviceHandle>((driver_ << 16) | ((gpu + 1) << 8) | mig_number);
}

std::optional<Target> Machine::find(nvml::DeviceHandle handle) const {
  const auto bits = reinterpret_cast<uint64_t>(handle);
  const uint64_t gpu = ((bits >> 8) & 0xff) - 1;
  if (bits >> 16 != driver_ || gpu >= scenario_.gpus.size()) return std::nullopt;
  const uint64_t mig_number = bits & 0xff;
  const std::vector<MigInstance>& mig = scenario_.gpus[gpu].mig;
  if (mig_number > mig.size()) return std::nullopt;
  if (mig_number == 0) return Target{static_cast<uint32_t>(gpu), nullptr};
  // Instances of one identity follow each other under one handle.
  for (const MigInstance& instance : mig) {
    if (instance.uuid == mig[mig_number - 1].uuid && instance.alive(t_ms_)) {
      return Target{static_cast<uint32_t>(gpu), &instance};
    }
  }
  return std::nullopt;
}

std::optional<uint32_t> Machine::take_shortage(const std::string& symbol) {
  for (Shortage& shortage : scenario_.shortages) {
    if (shortage.symbol != symbol || shortage.times == 0) continue;
    --shortage.times;
    return shortage.needed;
  }
  return std::nullopt;
}

nvml::GpmSampleHandle Machine::allocate_gpm_sample() {
  gpm_samples_[++last_gpm_sample_] = GpmSample();
  return reinterpret_cast<nvml::GpmSampleHandle>(last_gpm_sample_);
}

GpmSample* Machine::gpm_sample(nvml::GpmSampleHandle handle) {
  const auto found = gpm_samples_.find(reinterpret_cast<uint64_t>(handle));
  return found == gpm_samples_.end() ? nullptr : &found->second;
}

uint64_t Machine::gpm_samples() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return gpm_samples_.size();
}

void Machine::free_events() {
  registered_ = false;
  events_.clear();
}

bool Machine::take_event(Event& event) {
  if (events_.empty()) return false;
  event = events_.front();
  events_.pop_front();
  return true;
}

void Machine::step() {
  for (const Reload& reload : scenario_.reloads) {
    if (reload.at_ms == t_ms_) unload();
    if (reload.at_ms == t_ms_) down_until_ms_ = loaded_at_ms_ = t_ms_ + reload.down_ms;
  }
  if (t_ms_ >= down_until_ms_) {
    for (size_t i = 0; i < scenario_.gpus.size(); ++i) step_gpu(scenario_.gpus[i], states_[i]);
  }
  for (const Xid& xid : scenario_.xids) {
    if (xid.at_ms != t_ms_ || !registered_) continue;
    for (uint64_t i = 0; i < xid.count; ++i) events_.push_back({xid.gpu, xid.code});
  }
  ++t_ms_;
}

// What the driver kept is gone, and who used it must begin anew.
void Machine::unload() {
  users_ = 0;
  ++driver_;
  free_events();
  states_.assign(scenario_.gpus.size(), GpuState());
}

void Machine::step_gpu(const Gpu& gpu, GpuState& state) {
  const Process* const owner = owner_of(gpu, t_ms_, std::nullopt);
  const bool busy = owner != nullptr;
  // A milliwatt for a millisecond is a microjoule.
  state.energy_uj += busy ? gpu.busy_milliwatts : gpu.idle_milliwatts;
  if ((loaded_ms() + 1) % gpu.energy_period_ms == 0) state.counted_energy_uj = state.energy_uj;
  if (busy) {
    state.busy_us += 1000;
    state.process_us[owner->pid] += 1000;
    state.activity.add_ms(*owner);
  }
  step_instances(gpu, state);
  if (t_ms_ % kSamplePeriodMs == 0) state.samples.push_back({t_ms_, busy ? owner->pid : 0});
  if (state.samples.size() > kRingSamples) state.samples.pop_front();
  state.recently_busy.push_back(busy);
  if (state.recently_busy.size() > kUtilizationWindowMs) state.recently_busy.pop_front();
}

void Machine::step_instances(const Gpu& gpu, GpuState& state) {
  for (const MigInstance& mig : gpu.mig) {
    // The number may have been another's.
    if (t_ms_ == mig.begin_ms) state.instance_activity[mig.gpu_instance] = Activity();
    if (!mig.alive(t_ms_)) continue;
    const Process* const owner = owner_of(gpu, t_ms_, mig.gpu_instance);
    if (owner != nullptr) state.instance_activity[mig.gpu_instance].add_ms(*owner);
  }
  if ((t_ms_ + 1) % kCounterPeriodMs != 0) return;
  state.sampled_ms = t_ms_ + 1;
  state.sampled = state.activity;
  state.instance_sampled = state.instance_activity;
}

}  // namespace lezea::nvml_double

using lezea::nvml_double::Machine;

int lezea_double_load(const char* path) { return Machine::get().load(path); }
void lezea_double_advance_ms(uint64_t ms) { Machine::get().advance_ms(ms); }
void lezea_double_release() { Machine::get().release(); }
uint64_t lezea_double_users() { return Machine::get().users(); }
uint64_t lezea_double_gpm_samples() { return Machine::get().gpm_samples(); }
uint64_t lezea_double_calls(const char* symbol) { return Machine::get().calls(symbol); }
uint64_t lezea_double_truth(const char* what, uint32_t gpu, uint32_t pid) {
  return Machine::get().truth(what, gpu, pid);
}
