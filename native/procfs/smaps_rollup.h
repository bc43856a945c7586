// Parses /proc/<pid>/smaps_rollup. Reads text, emits resident and proportional set sizes.
// Reading it walks the target's page tables with its mmap lock held (4.6 ms a GB of 4 KiB pages):
// the caller decides how often.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace lezea {

struct SmapsRollup {
  uint64_t rss_bytes = 0;
  uint64_t pss_bytes = 0;  // every shared page counted 1/(number of processes that map it)
};

Result<SmapsRollup> parse_smaps_rollup(std::string_view text);

}  // namespace lezea
