// See pid_trust.h.
#include "nvml/pid_trust.h"

#include <cstdlib>
#include <utility>

namespace lezea::nvml {
namespace {

using Version = std::pair<long, long>;

constexpr Version kListsTranslated = {535, 113};
constexpr Version kMemoryTranslated = {565, 57};
constexpr Version kWorkTranslated = {575, 57};

// "550.54.15"; what is none is older than any.
Version parse(const std::string& text) {
  char* end = nullptr;
  const long major = std::strtol(text.c_str(), &end, 10);
  const long minor = *end == '.' ? std::strtol(end + 1, nullptr, 10) : 0;
  return {major, minor};
}

}  // namespace

PidTrust pid_trust(bool initial_namespace, const std::optional<std::string>& driver_version) {
  if (initial_namespace) return {};
  const Version driver = parse(driver_version.value_or(""));
  return {driver >= kListsTranslated, driver >= kMemoryTranslated, driver >= kWorkTranslated,
          false};
}

}  // namespace lezea::nvml
