// Parses /proc/<pid>/task/<tid>/schedstat. Reads text, emits one thread's scheduler figures.
// (The file directly under /proc/<pid> describes the leader thread only.)
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace lezea {

struct Schedstat {
  uint64_t cpu_ns = 0;            // cumulative time on a CPU; up to one tick stale while running
  uint64_t runqueue_wait_ns = 0;  // cumulative time runnable but waiting for a CPU
};

Result<Schedstat> parse_schedstat(std::string_view text);

}  // namespace lezea
