// Sample: "563b0a0d1000-7ffd2c9f6000 ---p 00000000 00:00 0                          [rollup]\n
// Rss:                1848 kB\nPss:                 240 kB\nPss_Dirty:           112 kB\n…"
#include "procfs/smaps_rollup.h"

#include "base/text.h"

namespace lezea {

Result<SmapsRollup> parse_smaps_rollup(std::string_view text) {
  constexpr uint64_t kMaxKib = UINT64_MAX / 1024;
  uint64_t rss_kib = 0;
  uint64_t pss_kib = 0;
  if (!find_number(text, "Rss:", rss_kib) || !find_number(text, "Pss:", pss_kib) ||
      rss_kib > kMaxKib || pss_kib > kMaxKib) {
    return Result<SmapsRollup>::fail(ReadStatus::kMalformed);
  }
  return Result<SmapsRollup>::of(SmapsRollup{rss_kib * 1024, pss_kib * 1024});
}

}  // namespace lezea
