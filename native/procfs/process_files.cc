// Kept descriptors of one /proc/<pid>. Reads the files, hands the text to the parsers.
#include "procfs/process_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <iterator>

#include "base/read_file.h"
#include "procfs/pid_list.h"
#include "procfs/pid_statm.h"
#include "procfs/timens_offsets.h"

namespace lezea {
namespace {

// The longest stat line has a 64 byte name and 50 numbers of at most 20 digits.
constexpr size_t kSmallFileBytes = 2048;

uint64_t page_bytes() {
  static const uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

template <class T>
Result<T> parse_kept(const Result<int>& fd, Result<T> (*parse)(std::string_view)) {
  if (!fd.ok()) return Result<T>::fail(fd.status);
  char buffer[kSmallFileBytes];
  Result<std::string_view> text = pread_file(fd.value, buffer, sizeof buffer);
  if (!text.ok()) return Result<T>::fail(text.status);
  return parse(text.value);
}

// For files that may be long (status lists every group of the process and every memory node).
template <class T>
Result<T> parse_long(const Result<int>& fd, Result<T> (*parse)(std::string_view)) {
  if (!fd.ok()) return Result<T>::fail(fd.status);
  Result<std::string> text = pread_file(fd.value);
  if (!text.ok()) return Result<T>::fail(text.status);
  return parse(text.value);
}

}  // namespace

Result<ProcessFiles> ProcessFiles::open(int proc_root_fd, int pid) {
  using Opened = Result<ProcessFiles>;
  char name[16];
  std::snprintf(name, sizeof name, "%d", pid);
  Result<UniqueFd> directory = open_directory_at(proc_root_fd, name);
  if (!directory.ok()) return Opened::fail(directory.status);

  ProcessFiles files;
  files.pid_ = pid;
  files.directory_ = std::move(directory.value);
  // Readable by everybody; io is opened at its first use, for it may be denied.
  Result<int> stat = files.kept("stat", files.stat_);
  if (!stat.ok()) return Opened::fail(stat.status);
  Result<int> statm = files.kept("statm", files.statm_);
  if (!statm.ok()) return Opened::fail(statm.status);
  return Opened::of(std::move(files));
}

Result<int> ProcessFiles::kept(const char* file, UniqueFd& fd) {
  if (fd.valid()) return Result<int>::of(fd.get());
  Result<UniqueFd> opened = open_at(directory_.get(), file);
  if (opened.ok()) {
    fd = std::move(opened.value);
    return Result<int>::of(fd.get());
  }
  // ENOENT is also what a kernel without this file says.
  bool lacking = opened.status == ReadStatus::kGone && statm_.valid() && alive();
  return Result<int>::fail(lacking ? ReadStatus::kUnsupported : opened.status);
}

Result<PidStat> ProcessFiles::stat() { return parse_kept(kept("stat", stat_), parse_pid_stat); }

Result<PidIo> ProcessFiles::io() { return parse_kept(kept("io", io_), parse_pid_io); }

Result<uint64_t> ProcessFiles::rss_bytes() {
  return parse_kept<uint64_t>(kept("statm", statm_), [](std::string_view text) {
    return parse_statm_rss_bytes(text, page_bytes());
  });
}

// Opened anew each time: a descriptor belongs to the address space that it was opened on, and exec
// replaces that.
Result<SmapsRollup> read_smaps_rollup(int process_fd) {
  Result<UniqueFd> file = open_at(process_fd, "smaps_rollup");
  if (!file.ok()) return Result<SmapsRollup>::fail(file.status);
  return parse_kept(Result<int>::of(file.value.get()), parse_smaps_rollup);
}

Result<UniqueFd> ProcessFiles::duplicate_directory() const {
  UniqueFd copy(fcntl(directory_.get(), F_DUPFD_CLOEXEC, 0));
  return copy.valid() ? Result<UniqueFd>::of(std::move(copy)) : Result<UniqueFd>::fail_errno(errno);
}

Result<PidStatus> ProcessFiles::status() {
  return parse_long(kept("status", status_), parse_pid_status);
}

Result<std::string> ProcessFiles::cgroup_text() { return read_file_at(directory_.get(), "cgroup"); }

Result<std::string> ProcessFiles::exe() {
  char target[PATH_MAX];
  ssize_t size = readlinkat(directory_.get(), "exe", target, sizeof target);
  if (size < 0) return Result<std::string>::fail_errno(errno);
  return Result<std::string>::of(std::string(target, static_cast<size_t>(size)));
}

Result<int64_t> ProcessFiles::monotonic_offset_ns() {
  Result<std::string> text = read_file_at(directory_.get(), "timens_offsets");
  if (text.ok()) return parse_monotonic_offset_ns(text.value);
  bool lacking = text.status == ReadStatus::kGone && alive();
  return Result<int64_t>::fail(lacking ? ReadStatus::kUnsupported : text.status);
}

Result<uint64_t> ProcessFiles::pid_namespace() {
  struct stat info{};
  if (fstatat(directory_.get(), "ns/pid", &info, 0) == 0) return Result<uint64_t>::of(info.st_ino);
  const auto refusal = Result<uint64_t>::fail_errno(errno);
  if (refusal.status != ReadStatus::kDenied) return refusal;
  // The kernel lists a process's numbers in every namespace from the reader's inwards: one alone means that it is in ours.
  const Result<PidStatus> own = status();
  const bool is_ours = own.ok() && own.value.ns_pids.size() == 1;
  if (!is_ours || fstatat(directory_.get(), "../self/ns/pid", &info, 0) != 0) return refusal;
  return Result<uint64_t>::of(info.st_ino);
}

Result<std::vector<int>> ProcessFiles::thread_ids() {
  if (!task_.valid()) {
    Result<UniqueFd> task = open_directory_at(directory_.get(), "task");
    if (!task.ok()) return Result<std::vector<int>>::fail(task.status);
    task_ = std::move(task.value);
  }
  return list_numeric_entries(task_.get());
}

Result<int> ProcessFiles::thread_file(int tid, const char* file, UniqueFd ThreadFiles::* member) {
  auto found = threads_.find(tid);
  if (found != threads_.end() && (found->second.*member).valid()) {
    return Result<int>::of((found->second.*member).get());
  }
  char path[48];
  std::snprintf(path, sizeof path, "task/%d/%s", tid, file);
  Result<UniqueFd> opened = open_at(directory_.get(), path);
  if (!opened.ok()) return Result<int>::fail(opened.status);
  UniqueFd& slot = threads_[tid].*member;
  slot = std::move(opened.value);
  return Result<int>::of(slot.get());
}

Result<Schedstat> ProcessFiles::thread_schedstat(int tid) {
  return parse_kept(thread_file(tid, "schedstat", &ThreadFiles::schedstat), parse_schedstat);
}

Result<PidIo> ProcessFiles::thread_io(int tid) {
  return parse_kept(thread_file(tid, "io", &ThreadFiles::io), parse_pid_io);
}

Result<PidStat> ProcessFiles::thread_stat(int tid) {
  return parse_kept(thread_file(tid, "stat", &ThreadFiles::stat), parse_pid_stat);
}

Result<PidStatus> ProcessFiles::thread_status(int tid) {
  return parse_long(thread_file(tid, "status", &ThreadFiles::status), parse_pid_status);
}

void ProcessFiles::forget_thread(int tid) { threads_.erase(tid); }

void ProcessFiles::keep_threads(const std::vector<int>& tids) {
  for (auto thread = threads_.begin(); thread != threads_.end();) {
    const bool kept = std::binary_search(tids.begin(), tids.end(), thread->first);
    thread = kept ? std::next(thread) : threads_.erase(thread);
  }
}

bool ProcessFiles::alive() {
  // statm answers ESRCH like stat does once the process is reaped and costs a third of it.
  char buffer[kSmallFileBytes];
  const Result<std::string_view> text = pread_file(statm_.get(), buffer, sizeof buffer);
  return text.ok() ? !text.value.empty() : text.status != ReadStatus::kGone;
}

size_t ProcessFiles::open_descriptors() const {
  size_t count = 0;
  const auto add = [&count](const UniqueFd& fd) { count += fd.valid() ? 1 : 0; };
  for (const UniqueFd* fd : {&directory_, &task_, &stat_, &statm_, &io_, &status_}) {
    add(*fd);
  }
  for (const auto& [tid, files] : threads_) {
    add(files.schedstat);
    add(files.io);
    add(files.status);
    add(files.stat);
  }
  return count;
}

}  // namespace lezea
