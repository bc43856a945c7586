// Whole-file reads with pread, so that a kept descriptor is read anew each time. Owns nothing.
#include "base/read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace lezea {
namespace {

constexpr size_t kMaxFileBytes = size_t{4} << 20;

ssize_t pread_retrying(int fd, char* buffer, size_t size, size_t offset) {
  ssize_t count;
  do {
    count = pread(fd, buffer, size, static_cast<off_t>(offset));
  } while (count < 0 && errno == EINTR);
  return count;
}

Result<UniqueFd> open_with_flags(int directory_fd, const char* path, int flags) {
  int fd;
  do {
    fd = openat(directory_fd, path, flags | O_RDONLY | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return Result<UniqueFd>::fail_errno(errno);
  return Result<UniqueFd>::of(UniqueFd(fd));
}

}  // namespace

Result<UniqueFd> open_at(int directory_fd, const char* path) {
  return open_with_flags(directory_fd, path, 0);
}

Result<UniqueFd> open_directory_at(int directory_fd, const char* path) {
  return open_with_flags(directory_fd, path, O_DIRECTORY);
}

Result<std::string_view> pread_file(int fd, char* buffer, size_t size) {
  using Text = Result<std::string_view>;
  // seq files hand out everything in one read when it fits, and formatting them twice costs as much
  // as the first time: a short count is taken for the end, as every reader of /proc does.
  ssize_t count = pread_retrying(fd, buffer, size, 0);
  if (count < 0) return Text::fail_errno(errno);
  if (static_cast<size_t>(count) == size) return Text::fail(ReadStatus::kMalformed);
  return Text::of(std::string_view(buffer, static_cast<size_t>(count)));
}

Result<std::string> pread_file(int fd) {
  using Text = Result<std::string>;
  std::string text(4096, '\0');
  size_t used = 0;
  while (true) {
    ssize_t count = pread_retrying(fd, &text[used], text.size() - used, used);
    if (count < 0) return Text::fail_errno(errno);
    if (count == 0) break;
    used += static_cast<size_t>(count);
    if (used >= kMaxFileBytes) return Text::fail(ReadStatus::kMalformed);
    if (used == text.size()) text.resize(std::min(text.size() * 4, kMaxFileBytes));
  }
  text.resize(used);
  return Text::of(std::move(text));
}

Result<std::string> read_file_at(int directory_fd, const char* path) {
  Result<UniqueFd> file = open_at(directory_fd, path);
  if (!file.ok()) return Result<std::string>::fail(file.status);
  return pread_file(file.value.get());
}

}  // namespace lezea
