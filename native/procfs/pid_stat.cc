// Sample: "6306 (cat) R 6294 6294 2975 0 -1 4194304 101 0 0 0 0 0 0 0 20 0 1 0 179378 3133440 …"
#include "procfs/pid_stat.h"

#include "base/text.h"

namespace lezea {
namespace {

constexpr uint64_t kExiting = 0x4;  // PF_EXITING of the kernel's linux/sched.h

}  // namespace

Result<PidStat> parse_pid_stat(std::string_view text) {
  const auto malformed = Result<PidStat>::fail(ReadStatus::kMalformed);
  // The name is the process's own choice and may hold blanks, newlines and parentheses, but nothing
  // behind it does.
  size_t open = text.find('(');
  size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    return malformed;
  }

  PidStat stat;
  stat.comm.assign(text.data() + open + 1, close - open - 1);
  TextScanner fields(text.substr(close + 1));
  std::string_view state;
  uint64_t flags = 0;
  // proc(5) numbers the state 3. Between: 5-8 process group to terminal's group, 13 children's major faults,
  // 18, 19 and 21 priority, nice and a field that is always 0.
  bool whole = fields.word(state) && state.size() == 1 && fields.number(stat.ppid) &&
               fields.skip_words(4) && fields.number(flags) && fields.number(stat.minor_faults) &&
               fields.number(stat.reaped_minor_faults) && fields.number(stat.major_faults) &&
               fields.skip_words(1) && fields.number(stat.utime_ticks) &&
               fields.number(stat.stime_ticks) && fields.number(stat.cutime_ticks) &&
               fields.number(stat.cstime_ticks) && fields.skip_words(2) &&
               fields.number(stat.threads) && fields.skip_words(1) &&
               fields.number(stat.start_ticks);
  if (!whole) return malformed;
  stat.state = state[0];
  stat.exiting = (flags & kExiting) != 0;
  return Result<PidStat>::of(std::move(stat));
}

}  // namespace lezea
