// What NVML's answers mean: fields by type and result, process entries by layout, rows of the ring of samples.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "nvml/fields.h"
#include "nvml/process_lists.h"
#include "nvml/process_shares.h"

using namespace lezea;
using namespace lezea::nvml;

namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kEpochUs = 1'700'000'000'000'000;
constexpr uint64_t kBootUs = 5'000'000'000;

FieldValue value_of(uint32_t field, ValueType type, uint64_t bits,
                    Return result = Return::kSuccess) {
  FieldValue value{};
  value.field = field;
  value.type = type;
  value.result = result;
  value.value.u64 = bits;
  return value;
}

uint64_t bits_of(double number) {
  uint64_t bits = 0;
  std::memcpy(&bits, &number, sizeof bits);
  return bits;
}

bool everyone(uint32_t) { return true; }

ShareRow row(uint64_t timestamp_us, uint32_t pid, uint32_t sm_percent) {
  return {timestamp_us, {pid, sm_percent, 0, 0, 0}};
}

template <class Entry>
bool add(const std::vector<Entry>& entries, size_t entry_bytes, ProcessKind kind,
         std::vector<GpuProcess>& processes) {
  return add_processes(reinterpret_cast<const uint8_t*>(entries.data()), entries.size(),
                       entry_bytes, kind, processes);
}

}  // namespace

TEST("a field is read by its type, whatever the rest of the union holds") {
  const uint64_t noise = 0xabcdef1200000000;
  CHECK_EQ(*whole_number(value_of(1, ValueType::kUnsignedInt, noise | 42)), 42);
  CHECK_EQ(*whole_number(value_of(1, ValueType::kSignedInt, noise | 42)), 42);
  CHECK_EQ(*whole_number(value_of(1, ValueType::kUnsignedShort, noise | 0x70000 | 42)), 42);
  CHECK_EQ(*whole_number(value_of(1, ValueType::kUnsignedLong, noise)), noise);
  CHECK_EQ(*whole_number(value_of(1, ValueType::kUnsignedLongLong, noise)), noise);
  CHECK_EQ(*whole_number(value_of(1, ValueType::kSignedLongLong, 1ULL << 40)), 1ULL << 40);
  CHECK_EQ(*whole_number(value_of(1, ValueType::kDouble, bits_of(41.6))), 42);
}

TEST("a failed field, an unknown type and the markers of no value are absent, never 0") {
  CHECK(!whole_number(value_of(1, ValueType::kUnsignedInt, 0, Return::kNotSupported)));
  CHECK(!whole_number(value_of(1, ValueType::kUnsignedInt, 7, Return::kUnknown)));
  CHECK(!whole_number(value_of(1, static_cast<ValueType>(7), 7)));
  CHECK(!whole_number(value_of(1, ValueType::kUnsignedInt, kNotAvailable32)));
  CHECK(!whole_number(value_of(1, ValueType::kUnsignedLongLong, kNotAvailable64)));
  CHECK(!whole_number(value_of(1, ValueType::kSignedInt, static_cast<uint32_t>(-1))));
  CHECK(!whole_number(value_of(1, ValueType::kSignedLongLong, ~0ULL)));
  for (const double number : {-1.0, std::numeric_limits<double>::quiet_NaN(),
                              std::numeric_limits<double>::infinity(), 1e30}) {
    CHECK(!whole_number(value_of(1, ValueType::kDouble, bits_of(number))));
  }
}

TEST("fields become figures in their units; what would overflow is absent") {
  DeviceFigures figures;
  apply_field(value_of(field::kEnergyMillijoules, ValueType::kUnsignedLongLong, 1234), figures);
  CHECK_EQ(*figures.energy_uj, 1'234'000);
  apply_field(value_of(field::kEnergyMillijoules, ValueType::kUnsignedLongLong, ~0ULL - 1),
              figures);
  CHECK(!figures.energy_uj.has_value());
  apply_field(value_of(field::kNvlinkReceivedKib, ValueType::kUnsignedLongLong, 3), figures);
  CHECK_EQ(*figures.nvlink_received_bytes, 3072);
  CHECK(!figures.nvlink_transmitted_bytes.has_value());
  apply_field(value_of(field::kNvlinkReceivedBytes, ValueType::kUnsignedLongLong, 5000), figures);
  CHECK_EQ(*figures.nvlink_received_bytes, 5000);
  apply_field(value_of(field::kRemappedPending, ValueType::kUnsignedInt, 1), figures);
  CHECK(figures.remapping_pending == true);
}

TEST("power is of the GPU or of its module, by the field's scope") {
  DeviceFigures figures;
  FieldValue value = value_of(field::kPowerInstant, ValueType::kUnsignedInt, 500000);
  apply_field(value, figures);
  value.scope = field_scope::kModule;
  value.value.u64 = 650000;
  apply_field(value, figures);
  value.scope = 2;
  value.value.u64 = 1;
  apply_field(value, figures);
  CHECK_EQ(*figures.power_instant_milliwatts, 500000);
  CHECK_EQ(*figures.module_power_instant_milliwatts, 650000);
  CHECK(!figures.power_average_milliwatts.has_value());
}

TEST("a PCIe counter that may have wrapped between two readings is absent") {
  DeviceFigures figures;
  apply_field(value_of(field::kPcieTransmittedBytes, ValueType::kUnsignedInt, 77), figures);
  apply_field(value_of(field::kPcieReceivedBytes, ValueType::kUnsignedLongLong, 1ULL << 40),
              figures);
  CHECK(!figures.pcie_transmitted_bytes.has_value());
  CHECK_EQ(*figures.pcie_received_bytes, 1ULL << 40);
}

TEST("process entries of 16, 24 and 32 bytes are read by their own layout") {
  std::vector<GpuProcess> processes;
  CHECK(add(std::vector<ProcessInfoV1>{{100, 1000}, {101, 2000}}, 16, ProcessKind::kCompute,
            processes));
  CHECK(add(std::vector<ProcessInfoV2>{{102, 3000, 1, 2}, {103, 4000, 1, 2}}, 24,
            ProcessKind::kCompute, processes));
  CHECK(add(std::vector<ProcessInfoR535>{{104, 5000, kNotAvailable32, kNotAvailable32, 9},
                                         {105, 6000, kNotAvailable32, kNotAvailable32, 9}},
            32, ProcessKind::kCompute, processes));
  REQUIRE(processes.size() == 6);
  for (size_t i = 0; i < 6; ++i) {
    CHECK_EQ(processes[i].pid, 100 + i);
    CHECK_EQ(*processes[i].memory_bytes, 1000 * (i + 1));
  }
  CHECK(!processes[0].gpu_instance.has_value());
  CHECK_EQ(*processes[2].gpu_instance, 1);
  CHECK_EQ(*processes[3].compute_instance, 2);
  CHECK(!processes[4].gpu_instance.has_value());
}

TEST("a list read by the wrong layout has pids that cannot be, and is thrown away whole") {
  std::vector<GpuProcess> processes;
  // Wider entries than was thought: the second begins in the first's last word.
  const std::vector<ProcessInfoR535> wide = {
      {104, 5ULL << 30, kNotAvailable32, kNotAvailable32, 0},
      {105, 6ULL << 30, kNotAvailable32, kNotAvailable32, 0}};
  CHECK(!add_processes(reinterpret_cast<const uint8_t*>(wide.data()), 2, 24, ProcessKind::kCompute,
                       processes));
  CHECK(!add(std::vector<ProcessInfoV2>{{(1U << 22) + 1, 0, 0, 0}}, 24, ProcessKind::kCompute,
             processes));
  CHECK(processes.empty());
}

TEST("memory that is not available is absent, and a process of several lists is one") {
  std::vector<GpuProcess> processes;
  const uint32_t none = kNotAvailable32;
  add(std::vector<ProcessInfoV2>{{7, kNotAvailable64, none, none}, {8, 500, none, none}}, 24,
      ProcessKind::kCompute, processes);
  add(std::vector<ProcessInfoV2>{{8, 500, none, none}, {9, kNotAvailable64, none, none}}, 24,
      ProcessKind::kGraphics, processes);
  add(std::vector<ProcessInfoV2>{{7, 300, none, none}}, 24, ProcessKind::kMps, processes);
  REQUIRE(processes.size() == 3);
  CHECK_EQ(*processes[0].memory_bytes, 300);
  CHECK(processes[0].compute && processes[0].mps && !processes[0].graphics);
  CHECK_EQ(*processes[1].memory_bytes, 500);
  CHECK(processes[1].compute && processes[1].graphics);
  CHECK(!processes[2].memory_bytes.has_value());
  // The same pid in another MIG instance holds that one, too.
  add(std::vector<ProcessInfoV2>{{7, 100, 1, 0}}, 24, ProcessKind::kCompute, processes);
  CHECK_EQ(processes.size(), 4);
}

TEST("the first answer of the ring is history: nobody is charged for it") {
  ShareHistory history;
  CHECK(!history.take({row(kEpochUs, 7, 90)}, 100 * kSecondNs, everyone).has_value());
  CHECK_EQ(history.last_seen_us(), kEpochUs);
  const auto next = history.take({row(kEpochUs + 1'000'000, 7, 40)}, 101 * kSecondNs, everyone);
  REQUIRE(next.has_value());
  REQUIRE(next->shares.size() == 1);
  CHECK_EQ(next->shares[0].sm_percent, 40);
  CHECK_EQ(next->from_ns, 100 * kSecondNs);
  CHECK_EQ(next->to_ns, 101 * kSecondNs);
}

TEST("an empty ring is a beginning, too: what comes next is new") {
  ShareHistory history;
  REQUIRE(history.take_none(100 * kSecondNs, false).has_value());
  const auto next = history.take({row(kEpochUs, 7, 40)}, 101 * kSecondNs, everyone);
  REQUIRE(next.has_value());
  CHECK_EQ(next->shares.size(), 1);
  CHECK_EQ(next->from_ns, 100 * kSecondNs);
}

TEST("nothing new is nobody active, over the time since it was asked last") {
  ShareHistory history;
  history.take({row(kEpochUs, 7, 90)}, 100 * kSecondNs, everyone);
  const auto idle = history.take_none(102 * kSecondNs, false);
  REQUIRE(idle.has_value());
  CHECK(idle->shares.empty());
  CHECK_EQ(idle->from_ns, 100 * kSecondNs);
  CHECK_EQ(idle->to_ns, 102 * kSecondNs);
}

TEST("the driver's clock may count from 1970 or from boot: the intervals are of ours") {
  for (const uint64_t base_us : {kEpochUs, kBootUs}) {
    ShareHistory history;
    history.take({row(base_us, 7, 90)}, 100 * kSecondNs, everyone);
    const auto made = history.take({row(base_us + 2'000'000, 7, 40)}, 102 * kSecondNs, everyone);
    REQUIRE(made.has_value());
    CHECK_EQ(made->from_ns, 100 * kSecondNs);
    CHECK_EQ(made->to_ns, 102 * kSecondNs);
    CHECK_EQ(history.last_seen_us(), base_us + 2'000'000);
  }
}

TEST("an interval goes no further back than the ring, however the driver's clock jumps") {
  ShareHistory history;
  history.take({row(kEpochUs, 7, 90)}, 100 * kSecondNs, everyone);
  auto made = history.take({row(kEpochUs + 3'600'000'000, 7, 40)}, 101 * kSecondNs, everyone);
  REQUIRE(made.has_value());
  CHECK_EQ(made->from_ns, 100 * kSecondNs);
  made = history.take({row(kEpochUs + 3'700'000'000, 7, 40)}, 161 * kSecondNs, everyone);
  REQUIRE(made.has_value());
  CHECK_EQ(made->from_ns, 151 * kSecondNs);
}

TEST("rows that are old, above 100 %, of no pid or of an impossible one are dropped and counted") {
  ShareHistory history;
  history.take({row(kEpochUs, 7, 90)}, 100 * kSecondNs, everyone);
  std::vector<uint32_t> seen;
  const std::vector<ShareRow> rows = {
      row(kEpochUs - 5, 7, 50), row(kEpochUs + 9, 7, 101), row(kEpochUs + 9, 0, 10),
      row(kEpochUs + 9, (1 << 22) + 1, 10), row(kEpochUs + 10, 8, 100)};
  const auto made =
      history.take(rows, 101 * kSecondNs, [&seen](uint32_t pid) { seen.push_back(pid); });
  REQUIRE(made.has_value() && made->shares.size() == 1);
  CHECK(seen == std::vector<uint32_t>{8});
  CHECK_EQ(made->shares[0].pid, 8);
  CHECK_EQ(history.dropped_rows(), 4);
  CHECK_EQ(history.last_seen_us(), kEpochUs + 10);
}

TEST("a driver's clock that was set back is noticed by a busy device of which nothing is new") {
  ShareHistory history;
  history.take({row(kEpochUs, 7, 90)}, 100 * kSecondNs, everyone);
  CHECK(history.take_none(101 * kSecondNs, true).has_value());
  CHECK(history.take_none(102 * kSecondNs, false).has_value());
  for (uint64_t s = 103; s < 105; ++s) CHECK(history.take_none(s * kSecondNs, true).has_value());
  CHECK_EQ(history.last_seen_us(), kEpochUs);
  CHECK(!history.take_none(105 * kSecondNs, true).has_value());
  CHECK_EQ(history.last_seen_us(), 0);
  CHECK(!history.take({row(kEpochUs - 60'000'000, 7, 90)}, 106 * kSecondNs, everyone).has_value());
  CHECK(history.take({row(kEpochUs - 59'000'000, 7, 30)}, 107 * kSecondNs, everyone).has_value());
}
