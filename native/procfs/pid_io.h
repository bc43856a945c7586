// Parses /proc/<pid>/io and task/<tid>/io. Reads text, emits PidIo.
// A process's file absorbs the IO of every child it reaps; a thread's file does not.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace lezea {

// All cumulative. "logical" is what passed through read() and write() (rchar, wchar); the others
// are what the storage layer was asked for: writes count when pages are dirtied.
struct PidIo {
  uint64_t logical_read_bytes = 0;
  uint64_t logical_write_bytes = 0;
  uint64_t read_ops = 0;   // syscr: read system calls
  uint64_t write_ops = 0;  // syscw
  uint64_t read_bytes = 0;
  uint64_t write_bytes = 0;
  uint64_t cancelled_write_bytes = 0;  // dirtied and then truncated before being written
};

Result<PidIo> parse_pid_io(std::string_view text);

}  // namespace lezea
