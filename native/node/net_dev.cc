// Sample: "  eth0: 266327942    8742    0    0    0     0          0         0   656504    5846 …"
// (received bytes, packets, errs, drop, fifo, frame, compressed, multicast, then sent bytes,
// packets, errs, drop, …; two header lines before)
#include "base/text.h"
#include "node/figures.h"

namespace lezea {
namespace {

bool parse_device_line(std::string_view line, std::vector<NodeFigure>& out) {
  // An alias's name may hold a colon ("eth0:1:"); the numbers never do.
  size_t colon = line.rfind(':');
  if (colon == std::string_view::npos) return false;
  std::string_view name;
  if (!TextScanner(line.substr(0, colon)).word(name)) return false;
  const std::string device(name);
  TextScanner fields(line.substr(colon + 1));
  const auto direction = [&fields, &device, &out](const std::string& prefix) {
    for (const char* what : {"bytes", "packets", "errs", "drop"}) {
      uint64_t value = 0;
      if (!fields.number(value)) return false;
      out.push_back(
          {prefix + what + "_total", {{"device", device}}, static_cast<double>(value), true});
    }
    return true;
  };
  return direction("network_receive_") && fields.skip_words(4) && direction("network_transmit_");
}

}  // namespace

bool parse_net_dev(std::string_view text, std::vector<NodeFigure>& out) {
  std::vector<NodeFigure> figures;
  TextScanner lines(text);
  std::string_view line;
  if (!lines.line(line) || !lines.line(line) || line.find('|') == std::string_view::npos) {
    return false;
  }
  while (lines.line(line)) {
    if (!parse_device_line(line, figures)) return false;
  }
  out.insert(out.end(), figures.begin(), figures.end());
  return true;
}

}  // namespace lezea
