// Sample lines: "0::/user.slice/user-1000.slice/session-2.scope" (v2),
// "4:memory:/docker/0a1b…" and "9:name=systemd:/system.slice/ssh.service" (v1)
#include "procfs/pid_cgroup.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "base/text.h"

namespace lezea {
namespace {

struct Membership {
  std::string_view controllers;  // "" for the unified hierarchy, else "cpu,cpuacct", "name=systemd"
  std::string_view path;
};

bool parse_line(std::string_view line, Membership& out) {
  size_t first = line.find(':');
  if (first == std::string_view::npos) return false;
  size_t second = line.find(':', first + 1);
  if (second == std::string_view::npos || second + 1 >= line.size()) return false;
  out.controllers = line.substr(first + 1, second - first - 1);
  out.path = line.substr(second + 1);
  return out.path.front() == '/';
}

// Empty when any line is malformed: a path may not be taken from a file that is not understood.
std::vector<Membership> parse_memberships(std::string_view text) {
  std::vector<Membership> all;
  TextScanner lines(text);
  std::string_view line;
  while (lines.line(line)) {
    Membership membership;
    if (!parse_line(line, membership)) return {};
    all.push_back(membership);
  }
  return all;
}

// The kernel writes " (deleted)" behind a cgroup that was removed under its last zombie.
std::string_view without_deleted(std::string_view path) {
  constexpr std::string_view kDeleted = " (deleted)";
  bool deleted =
      path.size() > kDeleted.size() && path.substr(path.size() - kDeleted.size()) == kDeleted;
  return deleted ? path.substr(0, path.size() - kDeleted.size()) : path;
}

bool has_controller(std::string_view list, std::string_view controller) {
  while (!list.empty()) {
    size_t size = list.find(',');
    if (list.substr(0, size) == controller) return true;
    list.remove_prefix(size == std::string_view::npos ? list.size() : size + 1);
  }
  return false;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() > end.size() && text.substr(text.size() - end.size()) == end;
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// "docker-<64 hex>.scope", "cri-containerd-<64 hex>.scope", "libpod-<64 hex>.scope", "crio-…", a
// bare id under docker/ or kubepods/, "<slice>:cri-containerd:<64 hex>". conmon is podman's and
// CRI-O's monitor beside the container, not in it.
std::optional<std::string> container_id_of(std::string_view component) {
  constexpr size_t kIdDigits = 64;
  if (ends_with(component, ".scope")) component.remove_suffix(6);
  if (component.size() < kIdDigits || component.find("conmon") != std::string_view::npos) {
    return std::nullopt;
  }
  std::string_view id = component.substr(component.size() - kIdDigits);
  bool hex = std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f');
  });
  std::string_view before = component.substr(0, component.size() - kIdDigits);
  bool separate = before.empty() || before.back() == '-' || before.back() == ':';
  if (!hex || !separate) return std::nullopt;
  return std::string(id);
}

// "job_1234" below something of Slurm's: /slurm/uid_7/job_1234/step_0 (v1),
// /system.slice/slurmstepd.scope/job_1234/step_0/user/task_0 (v2).
std::optional<std::string> slurm_job_of(std::string_view component) {
  constexpr std::string_view kJob = "job_";
  if (!starts_with(component, kJob) || component.size() == kJob.size()) return std::nullopt;
  std::string_view id = component.substr(kJob.size());
  bool decimal =
      std::all_of(id.begin(), id.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  if (!decimal) return std::nullopt;
  return std::string(id);
}

// Reads one path outermost first, so that the innermost match stays.
void identify(std::string_view path, WorkloadIdentity& out) {
  std::optional<std::string> unit;
  std::optional<std::string> slice;
  bool below_slurm = false;
  while (!path.empty()) {
    path.remove_prefix(1);
    std::string_view component = path.substr(0, path.find('/'));
    path.remove_prefix(component.size());
    if (ends_with(component, ".service") || ends_with(component, ".scope")) {
      unit = std::string(component);
    } else if (ends_with(component, ".slice")) {
      slice = std::string(component);
    }
    if (auto id = container_id_of(component)) out.container_id = id;
    if (starts_with(component, "slurm")) below_slurm = true;
    if (auto job = slurm_job_of(component); job && below_slurm) out.slurm_job_id = job;
  }
  if (!out.unit) out.unit = unit ? unit : slice;
}

}  // namespace

Result<std::string> cgroup2_path(std::string_view text) {
  for (const Membership& membership : parse_memberships(text)) {
    if (membership.controllers.empty()) {
      return Result<std::string>::of(std::string(without_deleted(membership.path)));
    }
  }
  return Result<std::string>::fail(ReadStatus::kUnsupported);
}

Result<std::string> cgroup1_path(std::string_view text, std::string_view controller) {
  for (const Membership& membership : parse_memberships(text)) {
    if (has_controller(membership.controllers, controller)) {
      return Result<std::string>::of(std::string(without_deleted(membership.path)));
    }
  }
  return Result<std::string>::fail(ReadStatus::kUnsupported);
}

Result<WorkloadIdentity> parse_workload_identity(std::string_view text) {
  std::vector<Membership> all = parse_memberships(text);
  if (all.empty()) return Result<WorkloadIdentity>::fail(ReadStatus::kMalformed);
  // Units are looked for where systemd keeps its tree: v2, or on a v1 machine name=systemd.
  const auto rank = [](const Membership& m) {
    if (m.controllers.empty()) return 0;
    return m.controllers == "name=systemd" ? 1 : 2;
  };
  std::stable_sort(all.begin(), all.end(),
                   [&rank](const Membership& a, const Membership& b) { return rank(a) < rank(b); });

  WorkloadIdentity identity;
  bool has_v2 = all.front().controllers.empty();
  for (const Membership& membership : all) {
    std::string_view path = without_deleted(membership.path);
    identify(path, identity);
    bool first = identity.cgroup.empty();
    if (first || (!has_v2 && path.size() > identity.cgroup.size())) identity.cgroup = path;
  }
  return Result<WorkloadIdentity>::of(std::move(identity));
}

}  // namespace lezea
