// The machine of a scenario while it runs: its clock, what each GPU has spent, the driver's ring of samples, which
// calls were made, fail or hang. The truth is computed here, millisecond by millisecond, from the scenario alone.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "nvml_double/scenario.h"

namespace lezea::nvml_double {

// One of the driver's samples: the one process that was active when it was taken.
struct Sample {
  uint64_t t_ms = 0;
  uint32_t pid = 0;  // 0: none was
};

// What the hardware's counters count, of a GPU or of an instance: time in which anything ran, and the same weighted
// with what was used meanwhile.
struct Activity {
  uint64_t busy_us = 0;
  uint64_t sm_us = 0;
  uint64_t occupancy_us = 0;
  uint64_t bandwidth_us = 0;

  void add_ms(const Process& process);
};

// A buffer of the library's.
struct GpmSample {
  bool filled = false;
  uint32_t gpu = 0;
  uint64_t t_ms = 0;
  Activity activity;
};

struct GpuState {
  uint64_t energy_uj = 0;
  uint64_t counted_energy_uj = 0;  // of the counter, which lags by up to its period
  uint64_t busy_us = 0;
  std::map<uint32_t, uint64_t> process_us;
  std::deque<Sample> samples;      // the last 72
  std::deque<bool> recently_busy;  // the last second, a value a millisecond
  Activity activity;
  std::map<uint32_t, Activity> instance_activity;  // by GPU instance
  // What can be sampled of them, which is brought up to date every 100 ms.
  uint64_t sampled_ms = 0;
  Activity sampled;
  std::map<uint32_t, Activity> instance_sampled;
};

struct Event {
  uint32_t gpu = 0;
  uint64_t xid = 0;
};

// What a handle stands for.
struct Target {
  uint32_t gpu = 0;
  const MigInstance* mig = nullptr;
};

// A file in the folder of this library; empty: it is not there.
std::string file_beside(const char* name);

class Machine {
 public:
  static Machine& get();

  int load(const std::string& path);
  bool needs_scenario();
  void advance_ms(uint64_t ms);
  void release();
  bool released() const { return released_; }
  uint64_t users();
  uint64_t calls(const char* symbol);
  uint64_t truth(const std::string& what, uint32_t gpu, uint32_t pid);

  // Every call begins here, with the machine's lock held: counts it, waits while it hangs; the code that it is to
  // fail with, if any. `gpu` -1: a call of no device.
  std::optional<nvml::Return> enter(std::unique_lock<std::mutex>& lock, const char* symbol,
                                    int64_t gpu);
  // Waits, with the lock, until the condition holds: for ever, or as long as is said. The machine's clock goes on
  // meanwhile where it goes by itself or by a file.
  void wait(std::unique_lock<std::mutex>& lock, std::optional<uint64_t> timeout_ms,
            const std::function<bool()>& condition);
  std::mutex& mutex() { return mutex_; }

  nvml::Return init();
  nvml::Return shutdown();
  nvml::DeviceHandle handle(uint32_t gpu, uint32_t mig_number) const;
  std::optional<Target> find(nvml::DeviceHandle handle) const;
  const Scenario& scenario() const { return scenario_; }
  const GpuState& state(uint32_t gpu) const { return states_[gpu]; }
  uint64_t t_ms() const { return t_ms_; }
  // Since the driver was loaded last.
  uint64_t loaded_ms() const { return t_ms_ - loaded_at_ms_; }

  // How many entries the call says that it needs, where the scenario has it say so; the next time less often.
  std::optional<uint32_t> take_shortage(const std::string& symbol);

  nvml::GpmSampleHandle allocate_gpm_sample();
  bool free_gpm_sample(nvml::GpmSampleHandle handle) {
    return gpm_samples_.erase(reinterpret_cast<uint64_t>(handle)) > 0;
  }
  // Null: it is none.
  GpmSample* gpm_sample(nvml::GpmSampleHandle handle);
  uint64_t gpm_samples();

  // One set of events is enough.
  void register_events() { registered_ = true; }
  void free_events();
  bool take_event(Event& event);

 private:
  void step();
  void catch_up();
  void step_gpu(const Gpu& gpu, GpuState& state);
  void step_instances(const Gpu& gpu, GpuState& state);
  void unload();

  std::mutex mutex_;
  std::condition_variable changed_;
  Scenario scenario_;
  bool loaded_ = false;
  bool released_ = false;
  uint64_t t_ms_ = 0;
  uint64_t begun_real_ms_ = 0;  // CLOCK_MONOTONIC at time 0
  uint64_t loaded_at_ms_ = 0;
  uint64_t down_until_ms_ = 0;
  uint32_t users_ = 0;  // inits less shutdowns
  uint64_t driver_ = 1;
  std::vector<GpuState> states_;
  std::map<std::string, uint64_t> calls_;
  uint64_t last_gpm_sample_ = 0;
  std::map<uint64_t, GpmSample> gpm_samples_;
  bool registered_ = false;
  std::deque<Event> events_;
};

}  // namespace lezea::nvml_double
