// Sample: "rchar: 7274\nwchar: 298\nsyscr: 12\nsyscw: 1\nread_bytes: 0\nwrite_bytes: 4096\n
// cancelled_write_bytes: 0\n"
#include "procfs/pid_io.h"

#include "base/text.h"

namespace lezea {

Result<PidIo> parse_pid_io(std::string_view text) {
  PidIo io;
  TextScanner words(text);
  // The order is the kernel's and has been since 2.6.20; reading in order keeps this a single pass.
  const auto field = [&words](std::string_view key, uint64_t& out) {
    std::string_view word;
    return words.word(word) && word == key && words.number(out);
  };
  bool whole = field("rchar:", io.logical_read_bytes) && field("wchar:", io.logical_write_bytes) &&
               field("syscr:", io.read_ops) && field("syscw:", io.write_ops) &&
               field("read_bytes:", io.read_bytes) && field("write_bytes:", io.write_bytes) &&
               field("cancelled_write_bytes:", io.cancelled_write_bytes);
  if (!whole) return Result<PidIo>::fail(ReadStatus::kMalformed);
  return Result<PidIo>::of(io);
}

}  // namespace lezea
