// Reads scenario files; see README.md for the format.
#include "nvml_double/scenario.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

namespace lezea::nvml_double {
namespace {

constexpr uint64_t kMib = 1024 * 1024;
constexpr uint64_t kBootBaseUs = 5'000'000'000;

// The words of a line: its verb, plain words, and KEY=VALUE.
class Line {
 public:
  explicit Line(const std::string& text) {
    std::istringstream in(text.substr(0, text.find('#')));
    std::string word;
    while (in >> word) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) {
        words_.push_back(word);
      } else {
        values_[word.substr(0, equals)] = word.substr(equals + 1);
      }
    }
  }
  bool empty() const { return words_.empty() && values_.empty(); }
  std::string word(size_t i) {
    used_words_ = std::max(used_words_, i + 1);
    if (i < words_.size()) return words_[i];
    wrong_ = true;
    return "";
  }
  std::string text(const std::string& key, const std::string& fallback) {
    const auto found = values_.find(key);
    if (found == values_.end()) return fallback;
    used_.insert(key);
    return found->second;
  }
  uint64_t number(const std::string& key, uint64_t fallback) {
    const std::string value = text(key, "");
    return value.empty() ? fallback : whole(value);
  }
  double decimal(const std::string& key) { return std::strtod(text(key, "0").c_str(), nullptr); }
  uint64_t whole(const std::string& value) {
    char* end = nullptr;
    const uint64_t number = std::strtoull(value.c_str(), &end, 10);
    if (value.empty() || *end != '\0') wrong_ = true;
    return number;
  }
  // Every word was understood.
  bool ok() const {
    return !wrong_ && used_words_ == words_.size() && used_.size() == values_.size();
  }

 private:
  std::vector<std::string> words_;
  std::map<std::string, std::string> values_;
  std::set<std::string> used_;
  size_t used_words_ = 0;
  bool wrong_ = false;
};

std::string spaced(std::string text) {
  for (char& c : text) c = c == '_' ? ' ' : c;
  return text;
}

Gpu read_gpu(Line& line) {
  Gpu gpu;
  gpu.uuid = line.text("uuid", "");
  gpu.name = spaced(line.text("name", gpu.name));
  gpu.serial = line.text("serial", "");
  gpu.vbios = line.text("vbios", gpu.vbios);
  gpu.pci = line.text("pci", gpu.pci);
  gpu.memory_bytes = line.number("memory_mib", 143771) * kMib;
  gpu.reserved_bytes = line.number("reserved_mib", 500) * kMib;
  gpu.idle_milliwatts = line.number("idle_mw", gpu.idle_milliwatts);
  gpu.busy_milliwatts = line.number("busy_mw", gpu.busy_milliwatts);
  gpu.energy_period_ms = line.number("energy_period_ms", gpu.energy_period_ms);
  gpu.temperature_celsius = static_cast<uint32_t>(line.number("celsius", gpu.temperature_celsius));
  gpu.max_mig = static_cast<uint32_t>(line.number("max_mig", 0));
  gpu.gpm = line.number("gpm", 0) != 0;
  gpu.no_gpm_metric = static_cast<uint32_t>(line.number("no_gpm_metric", 0));
  return gpu;
}

Process read_process(Line& line) {
  Process process;
  process.pid = static_cast<uint32_t>(line.number("pid", 0));
  const std::string kinds = line.text("kind", "compute");
  process.compute = kinds.find("compute") != std::string::npos;
  process.graphics = kinds.find("graphics") != std::string::npos;
  process.mps = kinds.find("mps") != std::string::npos;
  const std::string memory = line.text("memory_mib", "0");
  process.memory_bytes = memory == "unknown" ? nvml::kNotAvailable64 : line.whole(memory) * kMib;
  process.period_ms = line.number("period_ms", process.period_ms);
  process.busy_ms = line.number("busy_ms", 0);
  process.phase_ms = line.number("phase_ms", 0);
  process.begin_ms = line.number("begin_ms", 0);
  process.end_ms = line.number("end_ms", kForever);
  process.gpu_instance = static_cast<uint32_t>(line.number("gi", nvml::kNotAvailable32));
  process.compute_instance = static_cast<uint32_t>(line.number("ci", nvml::kNotAvailable32));
  const auto percent = [&](const char* key, uint32_t fallback) {
    return static_cast<uint32_t>(line.number(key, fallback));
  };
  process.sm_percent = percent("sm_percent", process.sm_percent);
  process.occupancy_percent = percent("occupancy_percent", process.occupancy_percent);
  process.bandwidth_percent = percent("bandwidth_percent", process.bandwidth_percent);
  return process;
}

MigInstance read_mig(Line& line) {
  MigInstance mig;
  mig.index = static_cast<uint32_t>(line.number("index", 0));
  mig.uuid = line.text("uuid", "");
  mig.gpu_instance = static_cast<uint32_t>(line.number("gi", 0));
  mig.compute_instance = static_cast<uint32_t>(line.number("ci", 0));
  mig.memory_bytes = line.number("memory_mib", 0) * kMib;
  mig.slices = static_cast<uint32_t>(line.number("slices", 1));
  mig.compute_slices = static_cast<uint32_t>(line.number("compute_slices", mig.slices));
  mig.begin_ms = line.number("from_ms", 0);
  mig.end_ms = line.number("until_ms", kForever);
  return mig;
}

bool read_type(const std::string& word, nvml::ValueType& type) {
  static const std::map<std::string, nvml::ValueType> kTypes = {
      {"double", nvml::ValueType::kDouble},      {"u32", nvml::ValueType::kUnsignedInt},
      {"ulong", nvml::ValueType::kUnsignedLong}, {"u64", nvml::ValueType::kUnsignedLongLong},
      {"i64", nvml::ValueType::kSignedLongLong}, {"i32", nvml::ValueType::kSignedInt},
      {"u16", nvml::ValueType::kUnsignedShort}};
  const auto found = kTypes.find(word);
  if (found == kTypes.end()) return false;
  type = found->second;
  return true;
}

bool read_field(Line& line, Field& field) {
  field.id = static_cast<uint32_t>(line.whole(line.word(2)));
  field.scope = static_cast<uint32_t>(line.number("scope", 0));
  field.base = line.decimal("value");
  field.per_second = line.decimal("per_second");
  field.end_ms = line.number("until_ms", kForever);
  field.result = static_cast<nvml::Return>(line.number("result", 0));
  return read_type(line.text("type", "u32"), field.type);
}

Trouble read_trouble(Line& line, bool hang) {
  Trouble trouble;
  trouble.symbol = line.word(1);
  trouble.hang = hang;
  if (!hang) trouble.result = static_cast<nvml::Return>(line.whole(line.word(2)));
  const std::string gpu = line.text("gpu", "");
  trouble.gpu = gpu.empty() ? -1 : static_cast<int64_t>(line.whole(gpu));
  trouble.begin_ms = line.number("from_ms", 0);
  trouble.end_ms = line.number("until_ms", kForever);
  return trouble;
}

// A line about the whole machine; false when it is about none.
bool read_machine(Line& line, const std::string& verb, Scenario& out) {
  if (verb == "driver") {
    out.driver_version = line.word(1);
  } else if (verb == "nvml") {
    out.nvml_version = line.word(1);
  } else if (verb == "cuda") {
    out.cuda_version = static_cast<int>(line.whole(line.word(1)));
  } else if (verb == "clock_domain") {
    if (line.word(1) == "boot") out.timestamp_base_us = kBootBaseUs;
  } else if (verb == "clock") {
    out.real_time = line.word(1) == "real";
  } else if (verb == "process_info_bytes") {
    out.process_info_bytes = line.whole(line.word(1));
  } else if (verb == "fail") {
    out.troubles.push_back(read_trouble(line, false));
  } else if (verb == "hang") {
    out.troubles.push_back(read_trouble(line, true));
  } else if (verb == "short") {
    const std::string symbol = line.word(1);
    out.shortages.push_back({symbol, static_cast<uint32_t>(line.number("needed", 0)),
                             static_cast<uint32_t>(line.number("times", 1))});
  } else if (verb == "reload") {
    out.reloads.push_back({line.number("at_ms", 0), line.number("down_ms", 0)});
  } else if (verb == "gpu") {
    out.gpus.push_back(read_gpu(line));
  } else {
    return false;
  }
  return true;
}

// A line about one GPU, whose number is its second word.
bool read_of_gpu(Line& line, const std::string& verb, Scenario& out) {
  const uint64_t index = line.whole(line.word(1));
  if (index >= out.gpus.size()) return false;
  Gpu& gpu = out.gpus[index];
  if (verb == "process") {
    Process process = read_process(line);
    for (uint64_t left = line.number("count", 1); left > 0; --left, ++process.pid) {
      gpu.processes.push_back(process);
    }
  } else if (verb == "mig") {
    gpu.mig.push_back(read_mig(line));
  } else if (verb == "field") {
    Field field;
    if (!read_field(line, field)) return false;
    gpu.fields.push_back(field);
  } else if (verb == "xid") {
    out.xids.push_back({static_cast<uint32_t>(index), line.whole(line.word(2)),
                        line.number("at_ms", 0), line.number("count", 1)});
  } else {
    return false;
  }
  return true;
}

}  // namespace

int read_scenario(const std::string& path, Scenario& out) {
  std::ifstream file(path);
  if (!file) return -1;
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    Line line(text);
    if (line.empty()) continue;
    const std::string verb = line.word(0);
    if (!read_machine(line, verb, out) && !read_of_gpu(line, verb, out)) return number;
    if (!line.ok()) return number;
  }
  return 0;
}

}  // namespace lezea::nvml_double
