// Sample: "MemTotal:       24684092 kB". A line that a kernel lacks gives no figure.
#include <set>

#include "base/text.h"
#include "node/figures.h"

namespace lezea {
namespace {

// What dashboards and alerts read; the kernel's own names, as node_exporter keeps them.
const std::set<std::string_view>& exported_names() {
  static const std::set<std::string_view> names = {
      "MemTotal",   "MemFree",     "MemAvailable", "Buffers",       "Cached",       "SwapCached",
      "Active",     "Inactive",    "SwapTotal",    "SwapFree",      "Dirty",        "Writeback",
      "AnonPages",  "Mapped",      "Shmem",        "Slab",          "SReclaimable", "SUnreclaim",
      "PageTables", "CommitLimit", "Committed_AS", "AnonHugePages", "Mlocked",      "Unevictable"};
  return names;
}

}  // namespace

bool parse_meminfo(std::string_view text, std::vector<NodeFigure>& out) {
  std::vector<NodeFigure> figures;
  TextScanner lines(text);
  std::string_view line;
  while (lines.line(line)) {
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) return false;
    std::string_view name = line.substr(0, colon);
    if (exported_names().count(name) == 0) continue;
    uint64_t kib = 0;
    TextScanner fields(line.substr(colon + 1));
    std::string_view unit;
    if (!fields.number(kib) || !fields.word(unit) || unit != "kB") return false;
    const double bytes = static_cast<double>(kib) * 1024;
    figures.push_back({"memory_" + std::string(name) + "_bytes", {}, bytes, false});
  }
  if (figures.empty()) return false;
  out.insert(out.end(), figures.begin(), figures.end());
  return true;
}

}  // namespace lezea
