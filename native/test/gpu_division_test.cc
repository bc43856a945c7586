// How one interval of a device is divided: by work, by memory, by slices; always to the last unit.
#include "attribution/gpu_division.h"

#include <random>

#include "check.h"

using namespace lezea;

namespace {

GpuHolder holder(uint32_t pid, uint64_t work, std::optional<uint64_t> memory_bytes) {
  GpuHolder made;
  made.pid = pid;
  made.gpu = 1;
  made.work = work;
  made.listed = true;
  made.memory_bytes = memory_bytes;
  return made;
}

GpuSpending spending(uint64_t energy_uj, uint64_t active_ns, uint64_t idle_ns) {
  GpuSpending spent;
  spent.energy_uj = energy_uj;
  spent.active_ns = active_ns;
  spent.length_ns = active_ns + idle_ns;
  return spent;
}

Amount energy(const GpuPart& part) { return part.work_energy_uj + part.held_energy_uj; }

}  // namespace

TEST("work goes by its shares, the rest by memory, and nothing is left") {
  const GpuParts parts =
      divide_gpu(spending(1000, 600, 400), {holder(1, 3, 100), holder(2, 1, 300)});
  CHECK_EQ(static_cast<uint64_t>(parts.holders[0].work_energy_uj), 450);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[0].held_energy_uj), 100);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[1].work_energy_uj), 150);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[1].held_energy_uj), 300);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[0].active_ns), 450);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[1].active_ns), 150);
  CHECK_EQ(static_cast<uint64_t>(energy(parts.nobody)), 0);
}

TEST("a device that nobody holds is nobody's") {
  const GpuParts parts = divide_gpu(spending(1000, 10, 90), {});
  CHECK_EQ(static_cast<uint64_t>(energy(parts.nobody)), 1000);
  CHECK_EQ(static_cast<uint64_t>(parts.nobody.active_ns), 10);
}

TEST("one that worked and is in no list yet gets its work, and holds nothing") {
  std::vector<GpuHolder> holders = {holder(1, 0, 500), holder(2, 5, std::nullopt)};
  holders[1].listed = false;
  const GpuParts parts = divide_gpu(spending(1000, 500, 500), holders);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[0].held_energy_uj), 500);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[0].work_energy_uj), 0);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[1].work_energy_uj), 500);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[1].held_energy_uj), 0);
}

TEST("without shares of work memory tells, and where that is not told of each, all are alike") {
  const GpuParts by_memory =
      divide_gpu(spending(1000, 1000, 0), {holder(1, 0, 100), holder(2, 0, 300)});
  CHECK_EQ(static_cast<uint64_t>(by_memory.holders[0].work_energy_uj), 250);
  const GpuParts alike =
      divide_gpu(spending(1000, 1000, 0), {holder(1, 0, 100), holder(2, 0, std::nullopt)});
  CHECK_EQ(static_cast<uint64_t>(alike.holders[0].work_energy_uj), 500);
  CHECK_EQ(static_cast<uint64_t>(alike.holders[1].work_energy_uj), 500);
}

TEST("where the utilisation is not known all energy goes by memory, and no work is told") {
  GpuSpending spent;
  spent.energy_uj = 800;
  const GpuParts parts = divide_gpu(spent, {holder(1, 9, 100), holder(2, 0, 300)});
  CHECK_EQ(static_cast<uint64_t>(energy(parts.holders[0])), 200);
  CHECK_EQ(static_cast<uint64_t>(energy(parts.holders[1])), 600);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[0].active_ns), 0);
}

TEST("what an MPS server did goes to its clients by their memory") {
  std::vector<GpuHolder> holders = {holder(1, 90, 10), holder(2, 0, 100), holder(3, 0, 300),
                                    holder(4, 10, 100)};
  holders[0].mps_server = true;
  holders[1].mps_client = holders[2].mps_client = true;
  const GpuParts parts = divide_gpu(spending(1000, 1000, 0), holders);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[0].work_energy_uj), 0);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[1].work_energy_uj), 225);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[2].work_energy_uj), 675);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[3].work_energy_uj), 100);
}

TEST(
    "of a device that is cut each instance has the share of its slices, and the rest is nobody's") {
  std::vector<GpuHolder> holders = {holder(1, 0, 100), holder(2, 0, 300), holder(3, 0, 50)};
  holders[0].gpu = holders[1].gpu = 2;
  holders[2].gpu = 3;
  GpuSpending spent;
  spent.energy_uj = 7000;
  spent.instances = {{2, 4, {}}, {3, 1, {}}, {4, 1, {}}};
  spent.slices = 7;
  const GpuParts parts = divide_gpu(spent, holders);
  CHECK_EQ(static_cast<uint64_t>(energy(parts.holders[0])), 1000);
  CHECK_EQ(static_cast<uint64_t>(energy(parts.holders[1])), 3000);
  CHECK_EQ(static_cast<uint64_t>(energy(parts.holders[2])), 1000);
  CHECK_EQ(static_cast<uint64_t>(energy(parts.nobody)), 2000);
}

TEST(
    "of a device that is cut work goes by how busy the slices were, and each instance's time is "
    "its own") {
  std::vector<GpuHolder> holders = {holder(1, 0, 100), holder(2, 0, 300), holder(3, 0, 50)};
  holders[0].gpu = holders[1].gpu = 2;
  holders[2].gpu = 3;
  GpuSpending spent;
  spent.energy_uj = 7'000'000;
  spent.length_ns = 1'000;
  spent.instances = {{2, 4, 500'000}, {3, 1, 1'000'000}, {4, 1, 500'000}};
  spent.slices = 7;
  const GpuParts parts = divide_gpu(spent, holders);
  // Busy were 4 x 0.5 + 1 + 0.5 of 7 slices: half of the energy is for work.
  const auto work = [](const GpuPart& part) { return static_cast<uint64_t>(part.work_energy_uj); };
  const auto held = [](const GpuPart& part) { return static_cast<uint64_t>(part.held_energy_uj); };
  CHECK_EQ(work(parts.holders[0]), 500'000);
  CHECK_EQ(work(parts.holders[1]), 1'500'000);
  CHECK_EQ(work(parts.holders[2]), 1'000'000);
  CHECK_EQ(work(parts.nobody), 500'000);
  CHECK_EQ(held(parts.holders[2]), 500'000);
  CHECK_EQ(held(parts.nobody), 1'000'000);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[1].active_ns), 375);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[2].active_ns), 1'000);
  CHECK_EQ(parts.unheld.size(), 1);
  CHECK_EQ(parts.unheld[0].gpu, 4);
  CHECK_EQ(static_cast<uint64_t>(parts.unheld[0].active_ns), 500);
}

TEST("whatever holds a device, the parts are the whole") {
  std::mt19937_64 random(7);
  const auto up_to = [&random](uint64_t most) { return random() % (most + 1); };
  for (int round = 0; round < 5'000; ++round) {
    GpuSpending spent;
    if (up_to(9) > 0) spent.energy_uj = up_to(1'000'000'000'000);
    spent.length_ns = up_to(30'000'000'000);
    if (up_to(3) > 0) spent.active_ns = up_to(spent.length_ns);
    if (up_to(4) == 0) {
      spent.active_ns.reset();
      for (uint32_t gpu = 2; gpu < 2 + up_to(6); ++gpu) {
        spent.instances.push_back({gpu, static_cast<uint32_t>(up_to(4)), std::nullopt});
        if (up_to(3) > 0) spent.instances.back().active_ppm = up_to(1'000'000);
      }
      spent.slices = static_cast<uint32_t>(up_to(7));
    }
    std::vector<GpuHolder> holders;
    for (uint64_t i = up_to(5); i > 0; --i) {
      GpuHolder made = holder(static_cast<uint32_t>(i), up_to(1) * up_to(700), up_to(1ull << 38));
      made.gpu = static_cast<uint32_t>(up_to(7));
      made.listed = up_to(5) > 0;
      made.mps_client = up_to(3) == 0;
      made.mps_server = !made.mps_client && up_to(3) == 0;
      if (up_to(5) == 0) made.memory_bytes.reset();
      holders.push_back(made);
    }
    const GpuParts parts = divide_gpu(spent, holders);
    Amount energy_uj = energy(parts.nobody);
    Amount active_ns = parts.nobody.active_ns;
    for (const GpuPart& part : parts.holders) {
      energy_uj += energy(part);
      active_ns += part.active_ns;
    }
    CHECK_EQ(static_cast<uint64_t>(energy_uj), spent.energy_uj.value_or(0));
    Amount wanted_ns = spent.active_ns.value_or(0);
    for (const GpuInstance& instance : spent.instances)
      wanted_ns += Amount{spent.length_ns} * instance.active_ppm.value_or(0) / 1'000'000;
    CHECK_EQ(static_cast<uint64_t>(active_ns), static_cast<uint64_t>(wanted_ns));
  }
}
