// Sample: "0.44 0.39 0.22 1/90 6313"
#include "base/text.h"
#include "node/figures.h"

namespace lezea {
namespace {

// "0.44" as two integers: strtod would read it by the process's locale, where a comma may be meant.
bool parse_decimal(std::string_view word, double& out) {
  size_t point = word.find('.');
  if (point == std::string_view::npos || word.size() != point + 3) return false;
  uint64_t whole = 0;
  uint64_t hundredths = 0;
  uint64_t sum = 0;
  if (!TextScanner(word.substr(0, point)).number(whole) ||
      !TextScanner(word.substr(point + 1)).number(hundredths) ||
      __builtin_mul_overflow(whole, uint64_t{100}, &sum) ||
      __builtin_add_overflow(sum, hundredths, &sum)) {
    return false;
  }
  out = static_cast<double>(sum) / 100;
  return true;
}

}  // namespace

bool parse_loadavg(std::string_view text, std::vector<NodeFigure>& out) {
  TextScanner words(text);
  std::vector<NodeFigure> figures;
  for (const char* name : {"load1", "load5", "load15"}) {
    std::string_view word;
    double load = 0;
    if (!words.word(word) || !parse_decimal(word, load)) return false;
    figures.push_back({name, {}, load, false});
  }
  out.insert(out.end(), figures.begin(), figures.end());
  return true;
}

}  // namespace lezea
