// See process_lists.h.
#include "nvml/process_lists.h"

#include <algorithm>
#include <cstring>

namespace lezea::nvml {
namespace {

// What is asked for at first; at 32 bytes an entry whatever the layout, so that a wider one than was thought does
// not write past the end.
constexpr uint32_t kFirstEntries = 256;
constexpr uint32_t kMostEntries = 65536;
constexpr size_t kWidestEntryBytes = sizeof(ProcessInfoR535);
constexpr int kMostTries = 3;
constexpr uint32_t kGreatestPid = 1 << 22;  // the kernel's PID_MAX_LIMIT

std::optional<uint32_t> known(uint32_t id) {
  if (id == kNotAvailable32) return std::nullopt;
  return id;
}

GpuProcess decode(const uint8_t* entry, size_t entry_bytes) {
  // The shorter layouts are the beginning of the longest.
  ProcessInfoR535 info{};
  info.gpu_instance = info.compute_instance = kNotAvailable32;
  std::memcpy(&info, entry, std::min(entry_bytes, sizeof info));
  GpuProcess process;
  process.pid = info.pid;
  if (info.used_gpu_memory != kNotAvailable64) process.memory_bytes = info.used_gpu_memory;
  process.gpu_instance = known(info.gpu_instance);
  process.compute_instance = known(info.compute_instance);
  return process;
}

void merge(const GpuProcess& found, ProcessKind kind, std::vector<GpuProcess>& processes) {
  auto same = std::find_if(processes.begin(), processes.end(), [&](const GpuProcess& other) {
    return other.pid == found.pid && other.gpu_instance == found.gpu_instance &&
           other.compute_instance == found.compute_instance;
  });
  if (same == processes.end()) same = processes.insert(same, found);
  // Each list tells all of the process's memory, not a part of it.
  same->memory_bytes = std::max(same->memory_bytes, found.memory_bytes);
  same->compute |= kind == ProcessKind::kCompute;
  same->graphics |= kind == ProcessKind::kGraphics;
  same->mps |= kind == ProcessKind::kMps;
}

}  // namespace

bool add_processes(const uint8_t* entries, size_t count, size_t entry_bytes, ProcessKind kind,
                   std::vector<GpuProcess>& processes) {
  std::vector<GpuProcess> found;
  found.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    found.push_back(decode(entries + i * entry_bytes, entry_bytes));
    if (found.back().pid == 0 || found.back().pid > kGreatestPid) return false;
  }
  for (const GpuProcess& process : found) merge(process, kind, processes);
  return true;
}

ProcessLists::ProcessLists(Library& library, const Clock& clock)
    : library_(library), clock_(clock), buffer_(kFirstEntries * kWidestEntryBytes) {}

std::optional<ProcessList> ProcessLists::read(DeviceHandle device) {
  const std::pair<const List*, ProcessKind> lists[] = {
      {&function::kComputeProcesses, ProcessKind::kCompute},
      {&function::kGraphicsProcesses, ProcessKind::kGraphics},
      {&function::kMpsProcesses, ProcessKind::kMps},
  };
  ProcessList made;
  made.t_ns = clock_.monotonic_ns();
  made.complete = true;
  bool any = false;
  for (const auto& [list, kind] : lists) {
    const Return result = read_list(device, *list, kind, made.processes);
    any |= result == Return::kSuccess;
    const bool none_here = result == Return::kNotSupported || result == Return::kFunctionNotFound;
    made.complete &= result == Return::kSuccess || none_here;
  }
  if (!any) return std::nullopt;
  return made;
}

Return ProcessLists::read_list(DeviceHandle device, const List& list, ProcessKind kind,
                               std::vector<GpuProcess>& processes) {
  Return result = Return::kInsufficientSize;
  for (int i = 0; i < kMostTries && result == Return::kInsufficientSize; ++i) {
    const auto room = static_cast<uint32_t>(buffer_.size() / kWidestEntryBytes);
    uint32_t count = room;
    result = library_.call(list, device, &count, buffer_.data());
    if (result == Return::kInsufficientSize) {
      // Some more than it says: others may begin meanwhile.
      const uint32_t entries = std::clamp(count + count / 4, room, kMostEntries);
      buffer_.resize(entries * kWidestEntryBytes);
    } else if (result == Return::kSuccess) {
      const bool believed =
          count <= room && add_processes(buffer_.data(), count,
                                         library_.process_info_bytes(list.id), kind, processes);
      if (!believed) return Return::kUnknown;
    }
  }
  return result;
}

}  // namespace lezea::nvml
