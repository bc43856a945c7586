// The processes that hold a device, from the driver's three lists. Owns the buffer that they are written into.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "nvml/figures.h"
#include "nvml/library.h"

namespace lezea::nvml {

enum class ProcessKind : uint8_t { kCompute, kGraphics, kMps };

// Adds the entries of one list, each of `entry_bytes`, to those of the others: a process that is in several is one.
// False, and nothing added, when a pid cannot be one: the layout is another than was thought.
bool add_processes(const uint8_t* entries, size_t count, size_t entry_bytes, ProcessKind kind,
                   std::vector<GpuProcess>& processes);

class ProcessLists {
 public:
  ProcessLists(Library& library, const Clock& clock);
  // Walks every client of the driver under its locks: seldom. Absent when no list was answered.
  std::optional<ProcessList> read(DeviceHandle device);

 private:
  using List = Function<DeviceHandle, uint32_t*, void*>;
  Return read_list(DeviceHandle device, const List& list, ProcessKind kind,
                   std::vector<GpuProcess>& processes);

  Library& library_;
  const Clock& clock_;
  std::vector<uint8_t> buffer_;
};

}  // namespace lezea::nvml
