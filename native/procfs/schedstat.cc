// Sample: "1036454 20150 1" (ns on a CPU, ns waiting for one, number of time slices)
#include "procfs/schedstat.h"

#include "base/text.h"

namespace lezea {

Result<Schedstat> parse_schedstat(std::string_view text) {
  TextScanner fields(text);
  Schedstat stat;
  uint64_t slices = 0;
  if (!fields.number(stat.cpu_ns) || !fields.number(stat.runqueue_wait_ns) ||
      !fields.number(slices)) {
    return Result<Schedstat>::fail(ReadStatus::kMalformed);
  }
  return Result<Schedstat>::of(stat);
}

}  // namespace lezea
