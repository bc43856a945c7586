// Sample: "monotonic      100000         0\nboottime            0         0\n" (seconds, ns)
#include "procfs/timens_offsets.h"

#include "base/text.h"

namespace lezea {

Result<int64_t> parse_monotonic_offset_ns(std::string_view text) {
  const auto malformed = Result<int64_t>::fail(ReadStatus::kMalformed);
  std::string_view line;
  // Linux 5.6 alone printed the clock's number, CLOCK_MONOTONIC being 1.
  if (!find_line(text, "monotonic ", line) && !find_line(text, "1 ", line)) return malformed;
  TextScanner fields(line);
  int64_t seconds = 0;
  int64_t nanoseconds = 0;
  int64_t offset = 0;
  if (!fields.number(seconds) || !fields.number(nanoseconds) ||
      __builtin_mul_overflow(seconds, int64_t{1000000000}, &offset) ||
      __builtin_add_overflow(offset, nanoseconds, &offset)) {
    return malformed;
  }
  return Result<int64_t>::of(offset);
}

}  // namespace lezea
