// Directory listings by getdents64 into the stack: readdir would allocate at every call.
#include "procfs/pid_list.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lezea {
namespace {

// struct linux_dirent64 of getdents64(2), which has no header of its own before glibc 2.30: u64
// inode, s64 offset, u16 record length, u8 type, then the name, NUL-terminated.
constexpr size_t kRecordLengthOffset = 16;
constexpr size_t kNameOffset = 19;

void append_if_number(const char* name, std::vector<int>& out) {
  const char* end = name + std::strlen(name);
  int number = 0;
  auto [parsed, error] = std::from_chars(name, end, number);
  if (error == std::errc() && parsed == end && number > 0) out.push_back(number);
}

}  // namespace

Result<std::vector<int>> list_numeric_entries(int directory_fd) {
  using Ids = Result<std::vector<int>>;
  if (lseek(directory_fd, 0, SEEK_SET) < 0) return Ids::fail_errno(errno);
  std::vector<int> ids;
  alignas(8) char buffer[16384];
  while (true) {
    long count = syscall(SYS_getdents64, directory_fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Ids::fail_errno(errno);
    if (count == 0) break;
    for (long at = 0; at < count;) {
      uint16_t length = 0;
      std::memcpy(&length, buffer + at + kRecordLengthOffset, sizeof length);
      append_if_number(buffer + at + kNameOffset, ids);
      at += length;
    }
  }
  // /proc is ascending already; a captured root on a disk is not.
  if (!std::is_sorted(ids.begin(), ids.end())) std::sort(ids.begin(), ids.end());
  return Ids::of(std::move(ids));
}

Result<std::vector<int>> list_pids(int proc_root_fd) { return list_numeric_entries(proc_root_fd); }

}  // namespace lezea
