// What NVML writes: the first byte chooses fields, process entries, rows of the ring of samples or metrics of GPM, the
// rest is what the library gave. No bytes may break a reading, and what cannot be true is not told.
#include <cstring>
#include <limits>
#include <vector>

#include "fuzz.h"
#include "nvml/fields.h"
#include "nvml/gpm.h"
#include "nvml/process_lists.h"
#include "nvml/process_shares.h"

namespace lezea::fuzz {
namespace {

using namespace lezea::nvml;

constexpr uint32_t kGreatestPid = 1 << 22;
constexpr uint64_t kSecondNs = 1'000'000'000;

void check_fields(Input& input) {
  DeviceFigures figures;
  while (!input.empty()) {
    FieldValue value{};
    const std::string_view bytes = input.bytes(sizeof value);
    std::memcpy(&value, bytes.data(), bytes.size());
    // Ids of the table more often than others.
    value.field %= 300;
    value.scope %= 3;
    const std::optional<uint64_t> number = whole_number(value);
    EXPECT(!number || value.result == Return::kSuccess);
    EXPECT(!number || *number != kNotAvailable64);
    const std::optional<uint64_t> energy_before_uj = figures.energy_uj;
    apply_field(value, figures);
    EXPECT(number || figures.energy_uj == energy_before_uj);
    EXPECT(!figures.energy_uj || *figures.energy_uj % 1000 == 0);
    EXPECT(figures.power_instant_milliwatts != kNotAvailable32);
  }
}

void check_processes(Input& input) {
  constexpr size_t kEntryBytes[] = {sizeof(ProcessInfoV1), sizeof(ProcessInfoV2),
                                    sizeof(ProcessInfoR535)};
  std::vector<GpuProcess> processes;
  size_t entries = 0;
  for (uint8_t list = 0; list < 3 && !input.empty(); ++list) {
    const size_t bytes = kEntryBytes[input.byte() % 3];
    const std::string_view part = input.bytes(bytes * (input.byte() % 64));
    const size_t count = part.size() / bytes;
    const std::vector<GpuProcess> before = processes;
    const bool believed = add_processes(reinterpret_cast<const uint8_t*>(part.data()), count, bytes,
                                        static_cast<ProcessKind>(list), processes);
    entries += believed ? count : 0;
    EXPECT(believed || processes.size() == before.size());
  }
  EXPECT(processes.size() <= entries);
  for (size_t i = 0; i < processes.size(); ++i) {
    const GpuProcess& process = processes[i];
    EXPECT(process.pid != 0 && process.pid <= kGreatestPid);
    EXPECT(process.memory_bytes != kNotAvailable64);
    EXPECT(process.compute || process.graphics || process.mps);
    for (size_t j = 0; j < i; ++j) {
      EXPECT(processes[j].pid != process.pid || processes[j].gpu_instance != process.gpu_instance ||
             processes[j].compute_instance != process.compute_instance);
    }
  }
}

void check_shares(Input& input) {
  ShareHistory history;
  uint64_t now_ns = 1000 * kSecondNs;
  uint64_t told_ns = 0;
  while (!input.empty()) {
    now_ns += input.number<uint32_t>();
    std::vector<ShareRow> rows(input.byte() % 8);
    for (ShareRow& row : rows) {
      row.timestamp_us = input.number<uint64_t>();
      row.share = {input.number<uint32_t>(), input.byte(), input.byte(), input.byte(),
                   input.byte()};
    }
    const uint64_t seen_us = history.last_seen_us();
    const uint64_t dropped = history.dropped_rows();
    size_t heard = 0;
    const auto seen = [&heard](uint32_t) { ++heard; };
    const auto made = rows.empty() ? history.take_none(now_ns, input.byte() % 2 == 1)
                                   : history.take(rows, now_ns, seen);
    EXPECT(history.dropped_rows() >= dropped);
    EXPECT(rows.empty() || history.last_seen_us() >= seen_us);
    if (!made) continue;
    EXPECT(rows.empty() || made->shares.size() <= heard);
    EXPECT(made->from_ns <= made->to_ns && made->to_ns == now_ns);
    EXPECT(made->from_ns >= told_ns);
    told_ns = made->to_ns;
    EXPECT(made->shares.size() <= rows.size());
    for (const ProcessShare& share : made->shares) {
      EXPECT(share.pid != 0 && share.pid <= 1 << 22 && share.sm_percent <= 100);
    }
  }
}

void check_gpm(Input& input) {
  DeviceFigures figures;
  while (!input.empty()) {
    GpmMetric metric{};
    const std::string_view bytes = input.bytes(sizeof metric);
    std::memcpy(&metric, bytes.data(), bytes.size());
    // Ids of the table more often than others.
    metric.id %= 12;
    const std::optional<uint32_t> ppm = parts_per_million(metric);
    EXPECT(!ppm || metric.result == Return::kSuccess);
    EXPECT(!ppm || *ppm <= 1'000'000);
    apply_gpm_metric(metric, figures);
    EXPECT(metric.id != gpm_metric::kSmActive || figures.gpm_sm_active_ppm == ppm);
    EXPECT(!figures.energy_uj && !figures.gpm_to_ns);
  }
}

}  // namespace
}  // namespace lezea::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lezea;
  fuzz::Input input(data, size);
  switch (input.byte() % 4) {
    case 0:
      fuzz::check_fields(input);
      break;
    case 1:
      fuzz::check_processes(input);
      break;
    case 2:
      fuzz::check_shares(input);
      break;
    case 3:
      fuzz::check_gpm(input);
      break;
  }
  return 0;
}
