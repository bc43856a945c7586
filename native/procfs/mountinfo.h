// Parses /proc/<pid>/mountinfo. Reads text, emits where the cgroup hierarchies are mounted.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace lezea {

// The mount points whose root is the hierarchy's own (or the cgroup namespace's) root, so that the
// paths of /proc/<pid>/cgroup can be appended. kUnsupported when there is none.
Result<std::string> parse_cgroup2_mount(std::string_view text);
Result<std::string> parse_cgroup1_mount(std::string_view text, std::string_view controller);

}  // namespace lezea
