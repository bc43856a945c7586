// GPUs that exist only for the engine's tests, and a node with two runs on them.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "fake_world.h"

namespace lezea::test {

inline constexpr uint64_t kTickNs = 100'000'000;
inline constexpr uint64_t kSecondNs = 1'000'000'000;
inline constexpr uint64_t kMiB = 1 << 20;

// Devices whose readings a test makes.
class FakeGpus final : public nvml::GpuSource {
 public:
  explicit FakeGpus(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      nvml::GpuDevice device;
      device.facts.uuid = "GPU-" + std::to_string(i + 1);
      devices.push_back(device);
      energy_uj.push_back(1'000'000);
    }
  }

  // Since the last reading each device drew so much and was busy for so much of the time.
  void read(uint64_t now_ns, uint64_t uj, uint32_t percent) {
    auto made = std::make_shared<nvml::GpuSnapshot>();
    made->state = nvml::GpuState::kRunning;
    made->t_ns = now_ns;
    for (size_t i = 0; i < devices.size(); ++i) {
      energy_uj[i] += uj;
      nvml::DeviceFigures figures;
      figures.t_ns = now_ns;
      figures.energy_uj = energy_uj[i];
      figures.utilization_percent = percent;
      devices[i].figures = figures;
      if (lists_are_read && devices[i].processes) devices[i].processes->t_ns = now_ns;
    }
    made->devices = devices;
    newest_ = made;
  }
  void hold(size_t device, int pid, uint64_t bytes) {
    if (!devices[device].processes) devices[device].processes.emplace();
    nvml::GpuProcess process;
    process.pid = static_cast<uint32_t>(pid);
    process.memory_bytes = bytes;
    devices[device].processes->processes.push_back(process);
  }
  void leave(size_t device, int pid) {
    auto& all = devices[device].processes->processes;
    all.erase(std::remove_if(all.begin(), all.end(),
                             [pid](const auto& one) { return static_cast<int>(one.pid) == pid; }),
              all.end());
  }
  void work(size_t device, uint64_t from_ns, uint64_t to_ns,
            const std::vector<std::pair<int, uint32_t>>& shares) {
    nvml::ProcessShares made;
    made.from_ns = from_ns;
    made.to_ns = to_ns;
    for (const auto& [pid, percent] : shares)
      made.shares.push_back({static_cast<uint32_t>(pid), percent, 0, 0, 0});
    devices[device].shares = made;
  }

  // As of a poller that has not read anything yet.
  void begin() { newest_ = std::make_shared<nvml::GpuSnapshot>(); }

  std::shared_ptr<const nvml::GpuSnapshot> newest() const override { return newest_; }
  void want_lists() override { ++lists_wanted; }

  std::vector<nvml::GpuDevice> devices;
  std::vector<uint64_t> energy_uj;
  int lists_wanted = 0;
  bool lists_are_read = true;  // at each reading; else they stay as they were

 private:
  std::shared_ptr<const nvml::GpuSnapshot> newest_ = std::make_shared<nvml::GpuSnapshot>();
};

// Two runs with two scopes each: slots 11, 12 (in 11) and 21, 22.
class GpuNode {
 public:
  explicit GpuNode(size_t gpu_count = 1) : gpus(std::make_shared<FakeGpus>(gpu_count)) { start(); }

  void start() {
    Sources sources = world.sources(true, true, true);
    sources.gpus = gpus;
    engine = std::make_unique<Engine>(std::move(sources), 3 * kSecondNs);
    for (uint32_t run = 1; run <= 2; ++run) {
      engine->open_run(run, run);
      engine->define_slot(10 * run + 1, run, 0);
      engine->define_slot(10 * run + 2, run, run == 1 ? 11 : 0);
    }
  }

  FakeProcess& bind(uint32_t run, uint32_t slot) {
    FakeProcess& process = world.spawn(1);
    bind(process.pid, process.start_ticks, run, slot);
    return process;
  }
  void bind(int pid, uint64_t start_ticks, uint32_t run, uint32_t slot, uint32_t session = 0) {
    BindCommand command;
    command.session = session;
    command.pid = pid;
    command.start_ticks = start_ticks;
    command.run = run;
    command.birth_slot = slot;
    world.publish();
    if (engine->bind_needs_tick(command)) engine->tick(true);
    engine->bind(command);
  }
  void enter(uint32_t session, int tid, uint32_t slot) {
    engine->enter({session, tid, slot, world.now_ns, true});
  }

  void tick() {
    world.now_ns += kTickNs;
    world.publish();
    engine->tick(true);
    look();
  }
  void ticks(int count) {
    for (int i = 0; i < count; ++i) tick();
  }
  // Ends an interval of every device, and has it taken.
  void read(uint64_t uj, uint32_t percent) {
    gpus->read(world.now_ns, uj, percent);
    tick();
  }

  void look() {
    const EngineSnapshot snapshot = engine->snapshot();
    for (const FrameRow& row : snapshot.slots) {
      const RowId of = row_id(row);
      rows[{of.id, of.gpu}] = from_frame(row);
    }
    for (const RunState& run : snapshot.runs) {
      CHECK_EQ(run.residual_columns, 0u);
      runs[run.run] = run;
    }
    for (const ExitedProcess& one : snapshot.exited) exited.push_back(one);
    processes = snapshot.processes;
    for (const GpuBooks& one : snapshot.gpus) books[one.gpu] = one;
  }

  uint64_t of(uint32_t slot, Column column, uint32_t gpu = 0) {
    return static_cast<uint64_t>(rows[{slot, gpu}].value[column]);
  }
  uint64_t of_run(uint32_t run, Column column) {
    return static_cast<uint64_t>(runs[run].totals.value[column]);
  }
  bool knows(uint32_t slot, Column column, uint32_t gpu = 0) {
    return (rows[{slot, gpu}].known & bit(column)) != 0;
  }

  void restart() {
    engine.reset();
    start();
    for (const auto& [gpu, one] : books) engine->name_gpu(gpu, one.uuid);
    for (const auto& [of, totals] : rows)
      engine->restore_slot(to_frame({of.first, of.second}, totals, {}));
    for (const auto& [id, run] : runs)
      engine->restore_run(to_frame({id}, run.totals, run.memory), run.state);
    for (const ProcessState& process : processes)
      CHECK(engine->restore_process(process.run, process.state));
    books.clear();
  }

  FakeWorld world;
  std::shared_ptr<FakeGpus> gpus;
  std::unique_ptr<Engine> engine;
  std::map<std::pair<uint32_t, uint32_t>, Totals> rows;
  std::map<uint32_t, RunState> runs;
  std::map<uint32_t, GpuBooks> books;
  std::vector<ProcessState> processes;
  std::vector<ExitedProcess> exited;
};

inline uint64_t number(Amount amount) { return static_cast<uint64_t>(amount); }

}  // namespace lezea::test
