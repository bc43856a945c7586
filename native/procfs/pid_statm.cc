// Sample: "765 402 373 5 0 123 0" (pages: size, resident, shared, text, 0, data, 0)
#include "procfs/pid_statm.h"

#include "base/text.h"

namespace lezea {

Result<uint64_t> parse_statm_rss_bytes(std::string_view text, uint64_t page_bytes) {
  TextScanner fields(text);
  uint64_t size_pages = 0;
  uint64_t resident_pages = 0;
  uint64_t bytes = 0;
  if (!fields.number(size_pages) || !fields.number(resident_pages) ||
      __builtin_mul_overflow(resident_pages, page_bytes, &bytes)) {
    return Result<uint64_t>::fail(ReadStatus::kMalformed);
  }
  return Result<uint64_t>::of(bytes);
}

}  // namespace lezea
