// Sample: "some avg10=2.25 avg60=2.40 avg300=1.06 total=13771615\nfull avg10=0.00 … total=0\n"
// (total in microseconds since boot)
#include "base/text.h"
#include "node/figures.h"

namespace lezea {
namespace {

bool find_total_seconds(std::string_view text, std::string_view key, double& out) {
  constexpr std::string_view kTotal = "total=";
  std::string_view line;
  if (!find_line(text, key, line)) return false;
  size_t at = line.find(kTotal);
  uint64_t microseconds = 0;
  if (at == std::string_view::npos ||
      !TextScanner(line.substr(at + kTotal.size())).number(microseconds)) {
    return false;
  }
  out = static_cast<double>(microseconds) / 1e6;
  return true;
}

}  // namespace

bool parse_pressure(std::string_view text, const std::string& resource,
                    std::vector<NodeFigure>& out) {
  const std::string prefix = "pressure_" + resource;
  double waiting = 0;
  double stalled = 0;
  if (!find_total_seconds(text, "some ", waiting)) return false;
  // A whole machine that waits for a CPU while none is running cannot be.
  bool has_stalled = resource != "cpu";
  if (has_stalled && !find_total_seconds(text, "full ", stalled)) return false;
  out.push_back({prefix + "_waiting_seconds_total", {}, waiting, true});
  if (has_stalled) out.push_back({prefix + "_stalled_seconds_total", {}, stalled, true});
  return true;
}

}  // namespace lezea
