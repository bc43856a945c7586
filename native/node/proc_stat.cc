// Sample: "cpu0 33213 0 9154 1730121 603 0 421 88 0 0" (user nice system idle iowait irq softirq
// steal guest guest_nice, in ticks; user includes guest), "ctxt 4412002", "btime 1763722000"
#include <array>

#include "base/text.h"
#include "node/figures.h"

namespace lezea {
namespace {

constexpr std::array<const char*, 8> kModes = {"user",   "nice", "system",  "idle",
                                               "iowait", "irq",  "softirq", "steal"};

// "cpu12", but not the sum line "cpu".
bool is_one_cpu(std::string_view word) {
  return word.size() > 3 && word.substr(0, 3) == "cpu" && word[3] >= '0' && word[3] <= '9';
}

bool parse_cpu_line(std::string_view line, double ticks_per_second, std::vector<NodeFigure>& out) {
  TextScanner fields(line);
  std::string_view cpu;
  if (!fields.word(cpu)) return false;
  const std::string number(cpu.substr(3));
  for (const char* mode : kModes) {
    uint64_t ticks = 0;
    if (!fields.number(ticks)) return false;
    out.push_back({"cpu_seconds_total",
                   {{"cpu", number}, {"mode", mode}},
                   static_cast<double>(ticks) / ticks_per_second,
                   true});
  }
  return true;
}

struct NamedLine {
  const char* key;
  const char* figure;
  bool counter;
};

constexpr NamedLine kNamedLines[] = {
    {"ctxt ", "context_switches_total", true},  {"processes ", "forks_total", true},
    {"btime ", "boot_time_seconds", false},     {"procs_running ", "procs_running", false},
    {"procs_blocked ", "procs_blocked", false},
};

}  // namespace

bool parse_proc_stat(std::string_view text, double ticks_per_second, std::vector<NodeFigure>& out) {
  std::vector<NodeFigure> figures;
  TextScanner lines(text);
  std::string_view line;
  while (lines.line(line)) {
    if (is_one_cpu(line) && !parse_cpu_line(line, ticks_per_second, figures)) return false;
  }
  if (figures.empty()) return false;
  for (const NamedLine& named : kNamedLines) {
    uint64_t value = 0;
    if (!find_number(text, named.key, value)) return false;
    figures.push_back({named.figure, {}, static_cast<double>(value), named.counter});
  }
  out.insert(out.end(), figures.begin(), figures.end());
  return true;
}

}  // namespace lezea
