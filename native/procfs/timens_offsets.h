// Parses /proc/<pid>/timens_offsets. Reads text, emits the shift of CLOCK_MONOTONIC.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace lezea {

// Nanoseconds to add to the initial time namespace's CLOCK_MONOTONIC to get what a process in this
// one sees; 0 outside of any. The kernel prints the namespace that *children* of the process get,
// which is also the process's own unless it called unshare(CLONE_NEWTIME) without exec.
Result<int64_t> parse_monotonic_offset_ns(std::string_view text);

}  // namespace lezea
