// Samples: name "package-0", max_energy_range_uj "262143328850", energy_uj "73310126981"
#include "node/powercap.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/read_file.h"
#include "base/text.h"

namespace lezea {
namespace {

constexpr char kControlType[] = "intel-rapl:";
constexpr char kPackage[] = "package-";
constexpr size_t kMostZones = 256;
// More than any package or its memory draws. Counters that are read every second begin anew after a minute of
// this, those of servers after several.
constexpr uint64_t kMostWatts = 2000;
// Counters move in steps of 1 ms and more: an interval may get the energy of a moment before it.
constexpr uint64_t kStepNs = 10'000'000;

bool starts_with(const std::string& text, const char* start) { return text.rfind(start, 0) == 0; }

// "intel-rapl:0" of "intel-rapl:0:1"; of a zone that is in no other the control type.
std::string parent_of(const std::string& folder) { return folder.substr(0, folder.rfind(':')); }

Result<std::string> word_of(const std::string& path) {
  const Result<std::string> text = read_file_at(AT_FDCWD, path.c_str());
  std::string_view word;
  if (!text.ok()) return text;
  if (!TextScanner(text.value).word(word)) return Result<std::string>::fail(ReadStatus::kMalformed);
  return Result<std::string>::of(std::string(word));
}

Result<uint64_t> number_of(const std::string& path) {
  const Result<std::string> text = read_file_at(AT_FDCWD, path.c_str());
  if (!text.ok()) return Result<uint64_t>::fail(text.status);
  uint64_t number = 0;
  if (!TextScanner(text.value).number(number))
    return Result<uint64_t>::fail(ReadStatus::kMalformed);
  return Result<uint64_t>::of(number);
}

std::vector<std::string> folders_in(const std::string& root) {
  std::vector<std::string> folders;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(root, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (starts_with(name, kControlType) && folders.size() < kMostZones)
      folders.push_back(std::move(name));
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace

Powercap::Powercap(const std::string& sys_root) : folder_(sys_root + "/class/powercap") {
  std::vector<std::string> packages;
  uint32_t drams = 0;
  for (const std::string& folder : folders_in(folder_)) {
    const std::string path = folder_ + "/" + folder;
    const Result<std::string> name = word_of(path + "/name");
    PowercapZone zone;
    zone.folder = folder;
    if (name.ok() && starts_with(name.value, kPackage)) {
      packages.push_back(folder);
      zone.kind = "package";
      zone.index = name.value.substr(sizeof kPackage - 1);
    } else if (name.ok() && name.value == "dram" &&
               std::count(packages.begin(), packages.end(), parent_of(folder)) > 0) {
      zone.kind = "dram";
      zone.index = std::to_string(drams++);
    } else {
      continue;
    }
    const Result<uint64_t> range = number_of(path + "/max_energy_range_uj");
    const Result<uint64_t> energy = number_of(path + "/energy_uj");
    status_ = !range.ok() ? range.status : energy.status;
    if (range.ok() && range.value == 0) status_ = ReadStatus::kMalformed;
    if (status_ == ReadStatus::kGone) status_ = ReadStatus::kUnsupported;  // the zone is there
    if (status_ != ReadStatus::kOk) {
      // Part of the sum would look like all of it.
      zones_.clear();
      return;
    }
    zone.range_uj = range.value;
    zones_.push_back(std::move(zone));
  }
}

std::string Powercap::path(const PowercapZone& zone) const { return folder_ + "/" + zone.folder; }

Result<uint64_t> Powercap::energy_uj(const PowercapZone& zone) const {
  return number_of(path(zone) + "/energy_uj");
}

std::optional<EnergyMark> Powercap::mark(uint64_t t_ns) const {
  EnergyMark mark;
  mark.t_ns = t_ns;
  for (const PowercapZone& zone : zones_) {
    const Result<uint64_t> energy = energy_uj(zone);
    if (!energy.ok()) return std::nullopt;
    mark.energy_uj.push_back(energy.value);
  }
  return mark;
}

std::optional<uint64_t> Powercap::between(const EnergyMark& before, const EnergyMark& now) const {
  if (now.t_ns <= before.t_ns) return std::nullopt;
  uint64_t sum_uj = 0;
  for (size_t i = 0; i < zones_.size(); ++i) {
    const std::optional<uint64_t> increase = energy_increase(
        before.energy_uj[i], now.energy_uj[i], zones_[i].range_uj, now.t_ns - before.t_ns);
    if (!increase) return std::nullopt;
    sum_uj += *increase;
  }
  return sum_uj;
}

void Powercap::encode(const EnergyMark& mark, ByteWriter& out) const {
  out.u64(mark.t_ns);
  out.u32(static_cast<uint32_t>(zones_.size()));
  for (size_t i = 0; i < zones_.size(); ++i) {
    out.string(zones_[i].folder);
    out.u64(mark.energy_uj[i]);
  }
}

std::optional<EnergyMark> Powercap::decode(ByteReader& in) const {
  EnergyMark mark;
  mark.t_ns = in.u64();
  bool same = in.u32() == zones_.size();
  for (size_t i = 0; same && i < zones_.size(); ++i) {
    same = in.string() == zones_[i].folder;
    mark.energy_uj.push_back(in.u64());
  }
  if (!same || !in.ok()) return std::nullopt;
  return mark;
}

std::optional<uint64_t> energy_increase(uint64_t before_uj, uint64_t now_uj, uint64_t range_uj,
                                        uint64_t elapsed_ns) {
  if (before_uj > range_uj || now_uj > range_uj) return std::nullopt;
  const uint64_t longest_ns = UINT64_MAX / kMostWatts - kStepNs;
  if (elapsed_ns > longest_ns) return std::nullopt;
  // 1 W is 1 µJ in 1000 ns.
  const uint64_t most_uj = (elapsed_ns + kStepNs) * kMostWatts / 1000;
  if (most_uj >= range_uj) return std::nullopt;
  const uint64_t grown_uj =
      now_uj >= before_uj ? now_uj - before_uj : range_uj - before_uj + now_uj;
  if (grown_uj > most_uj) return std::nullopt;
  return grown_uj;
}

Result<uint32_t> parse_cpu_list(std::string_view text) {
  const auto malformed = Result<uint32_t>::fail(ReadStatus::kMalformed);
  std::string_view list;
  if (!TextScanner(text).word(list)) return malformed;
  uint64_t count = 0;
  while (!list.empty()) {
    const std::string_view range = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), range.size() + 1));
    const size_t dash = range.find('-');
    uint32_t first = 0;
    if (!TextScanner(range.substr(0, dash)).number(first)) return malformed;
    uint32_t last = first;
    if (dash != std::string_view::npos && !TextScanner(range.substr(dash + 1)).number(last))
      return malformed;
    if (last < first) return malformed;
    count += uint64_t{last} - first + 1;
  }
  if (count == 0 || count > UINT32_MAX) return malformed;
  return Result<uint32_t>::of(static_cast<uint32_t>(count));
}

Result<uint32_t> online_cpus(const std::string& sys_root) {
  const Result<std::string> text =
      read_file_at(AT_FDCWD, (sys_root + "/devices/system/cpu/online").c_str());
  if (!text.ok()) return Result<uint32_t>::fail(text.status);
  return parse_cpu_list(text.value);
}

}  // namespace lezea
