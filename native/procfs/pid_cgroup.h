// Parses /proc/<pid>/cgroup. Reads text, emits the process's cgroup paths and which unit,
// container or batch job they name. Tolerates v1, v2 and the hybrid of both.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lezea {

struct WorkloadIdentity {
  std::string cgroup;  // the v2 path if there is one, else the longest v1 path; starts with /
  // The innermost systemd .service or .scope, as named there; with neither, the innermost .slice.
  std::optional<std::string> unit;
  std::optional<std::string> container_id;  // innermost 64-digit id
  std::optional<std::string> slurm_job_id;  // "1234" of .../job_1234/...
};

// The path of the unified (v2) hierarchy, kUnsupported if the process has none.
Result<std::string> cgroup2_path(std::string_view text);

// The path in the v1 hierarchy that holds the controller ("memory"), kUnsupported if there is none.
Result<std::string> cgroup1_path(std::string_view text, std::string_view controller);

Result<WorkloadIdentity> parse_workload_identity(std::string_view text);

}  // namespace lezea
