// Sample lines: "Tgid:\t6306", "Uid:\t1000\t1000\t1000\t1000" (real, effective, saved, filesystem),
// "NSpid:\t6306\t12", "SigIgn:\t0000000000001000", "voluntary_ctxt_switches:\t12"
#include "procfs/pid_status.h"

#include "base/text.h"

namespace lezea {
namespace {

bool parse_ids(std::string_view text, PidStatus& status) {
  std::string_view line;
  if (!find_line(text, "Uid:", line)) return false;
  TextScanner uids(line);
  return uids.number(status.uid) && uids.number(status.effective_uid) &&
         find_number(text, "Gid:", status.gid) && find_number(text, "Tgid:", status.tgid);
}

bool parse_ns_pids(std::string_view text, std::vector<int>& out) {
  std::string_view line;
  if (!find_line(text, "NSpid:", line)) return true;  // absent before Linux 4.1
  TextScanner words(line);
  std::string_view word;
  while (words.word(word)) {
    int pid = 0;
    if (!TextScanner(word).number(pid)) return false;
    out.push_back(pid);
  }
  return true;
}

}  // namespace

Result<PidStatus> parse_pid_status(std::string_view text) {
  PidStatus status;
  // "Name:" comes first and is escaped by the kernel (newline as \n), so no name can forge a line.
  bool whole = parse_ids(text, status) && parse_ns_pids(text, status.ns_pids) &&
               find_number(text, "SigIgn:", status.ignored_signals, 16) &&
               find_number(text, "SigCgt:", status.caught_signals, 16) &&
               find_number(text, "voluntary_ctxt_switches:", status.voluntary_switches) &&
               find_number(text, "nonvoluntary_ctxt_switches:", status.involuntary_switches);
  if (!whole) return Result<PidStatus>::fail(ReadStatus::kMalformed);
  return Result<PidStatus>::of(std::move(status));
}

}  // namespace lezea
