// Parses /proc/<pid>/statm. Reads text, emits resident bytes.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace lezea {

// Resident set size in bytes; 0 for zombies and kernel threads. page_bytes is sysconf's page size.
Result<uint64_t> parse_statm_rss_bytes(std::string_view text, uint64_t page_bytes);

}  // namespace lezea
