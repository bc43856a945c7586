// Reading whole small kernel files through descriptors. Owns nothing.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace lezea {

// Opens read-only, close-on-exec, relative to a directory (AT_FDCWD for an absolute path).
Result<UniqueFd> open_at(int directory_fd, const char* path);
Result<UniqueFd> open_directory_at(int directory_fd, const char* path);

// The file from its beginning into the caller's buffer, without allocating. A file that does not
// fit is kMalformed: half of a kernel file is never parsed.
Result<std::string_view> pread_file(int fd, char* buffer, size_t size);

// The same into a string, for files without a small bound; more than 4 MiB is kMalformed.
Result<std::string> pread_file(int fd);

// Opens, reads, closes.
Result<std::string> read_file_at(int directory_fd, const char* path);

}  // namespace lezea
