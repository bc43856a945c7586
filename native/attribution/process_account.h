// Divides what one process used among the scopes that its threads were in (docs/meaning.md, rules 3-9).
// Pure: it is handed stamps and readings, and gives to a RunTable. Owned by the sampling thread only.
//
// The kernel's cumulative figure of the process is the truth; stamps and thread clocks only divide its
// increase. What they claim beyond it (external clock reads lag by a scheduler tick) is carried to the
// next interval, so nothing is given twice and nothing is made up.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "attribution/columns.h"
#include "attribution/followed_segments.h"
#include "attribution/run_table.h"
#include "attribution/scope_history.h"
#include "attribution/scope_shares.h"
#include "base/bytes.h"

namespace lezea {

// Cumulative kernel figures of one process, base native units of the columns.
struct Reading {
  uint64_t t_ns = 0;  // CLOCK_MONOTONIC right after the CPU clock was read
  uint32_t known = 0;
  std::array<uint64_t, kReadingColumns> counter{};
  std::optional<uint64_t> memory_bytes;
  bool memory_estimated = false;
  bool slow = false;  // the columns other than CPU were read too

  void set(Column column, uint64_t value) {
    known |= bit(column);
    counter[column] = value;
  }
};

// A thread's cumulative figures, read from outside after the rings.
struct ThreadReading {
  std::optional<uint64_t> cpu_ns;
  std::optional<uint64_t> read_bytes;
  std::optional<uint64_t> write_bytes;
};

// What a thread's own clock said at a time, or what its exit record told.
struct Stamp {
  uint64_t t_ns = 0;
  uint64_t cpu_ns = 0;
};

// What a process had of a device in an interval.
struct GpuUse {
  uint32_t gpu = 0;
  uint64_t from_ns = 0;
  uint64_t to_ns = 0;
  std::optional<Amount> active_ns;
  std::optional<Amount> energy_uj;
  Amount work_energy_uj = 0;  // of that, for work; the rest for holding the device
  std::optional<Amount> allocated_ns;
  std::optional<Amount> memory_byte_ns;
};

// One "the thread is in this scope from now on".
struct Switch {
  int tid = 0;
  uint64_t t_ns = 0;
  uint32_t slot = 0;               // 0: follow the rules
  uint64_t counts_from_ns = 0;     // the process's start: a thread is active nowhere before it
  std::optional<uint64_t> cpu_ns;  // the thread's own clock at the edge
  std::optional<uint64_t>
      kernel_ns;  // the kernel's figure for it, read later: a bound on the stamp
  bool activation = false;
};

class ProcessAccount {
 public:
  // `base` is the sample at binding; for a process forked inside its run all zero (Reading::known full).
  ProcessAccount(uint32_t run, uint32_t birth_slot, int primary_tid, const Reading& base);
  // From encode(); the reader's ok() says whether the bytes were sound. `row_words`: of its totals' row.
  ProcessAccount(uint32_t run, ByteReader& in, int row_words = kFrameWords);
  // After that: shares in slots that are not the run's count for its unattributed one, or what they are
  // given would be missing in the sum over the slots, or in another run's.
  void adopt_slots(RunTable& table);

  void apply(const Switch& change);
  // A thread's cumulative storage bytes at a scope edge; the increase belongs to the scope being left.
  void io_stamp(int tid, Claim kind, uint64_t bytes);
  // The process's own CPU clock at the thread's next edge. It only weighs: what threads that announce
  // nothing used, they used before that edge or after it.
  void process_stamp(int tid, uint64_t cpu_ns);
  void end_thread(int tid, uint64_t t_ns, std::optional<uint64_t> final_cpu_ns);
  // Ends all but these (sorted): nobody told that some have gone.
  void keep_threads(const std::vector<int>& tids, uint64_t t_ns);
  bool has_threads() const { return !threads_.empty(); }
  size_t thread_count() const { return threads_.size(); }
  // The thread that exec'd goes on under the leader's id, and by then the ends of all others were told:
  // `leader_ended` says whether the leader's was.
  void exec(int leader, bool leader_ended, uint64_t t_ns);
  void void_announcements(uint64_t t_ns);
  // The same process has offered a ring of its lost session again: its threads are where they were, but
  // for those that announced something since.
  void restore_announcements();
  // After an overrun: threads without a surviving record follow the rules until they announce again.
  void void_thread(int tid, uint64_t t_ns);
  void set_primary(int tid, uint64_t t_ns);
  void set_birth(uint32_t slot, uint64_t t_ns);

  // Where a thread is now (for a fork's birth scope).
  uint32_t slot_of(int tid) const;
  // Brings every stay up to the end of the interval; tails are claimed after it, then comes close().
  void settle(uint64_t t_ns);
  // The threads whose clocks are worth reading at this close; empty where all sit in one scope.
  void threads_to_read(std::vector<int>& tids) const;
  // Before close(): what the kernel says of one thread; `next` is its first stamp after the interval's
  // end, where there is one.
  void claim_tail(int tid, const ThreadReading& now, const std::optional<Stamp>& next);
  // After settle(), of a process that nobody can ask any more: at least what its threads' own stamps say, on so many
  // processors, is set as its CPU clock. False: they say nothing.
  bool take_stamped(Reading& reading, uint64_t processors) const;
  // Divides the increase since the last close, ends the interval at reading.t_ns.
  void close(const Reading& reading, RunTable& table);
  // What the process holds at this tick, in equal parts where it is now. Between begin and end of a memory tick.
  void add_current_memory(RunTable& table);

  // From now on it is remembered where the process's time went, for give_gpu().
  void keep_history();
  void forget_history(uint64_t before_ns);
  // What it holds of each device, by number, until told otherwise.
  void set_gpu_memory(std::vector<std::pair<uint32_t, uint64_t>> bytes_by_gpu);
  const std::vector<std::pair<uint32_t, uint64_t>>& gpu_memory() const { return gpu_memory_; }
  bool holds_gpu() const { return !gpu_memory_.empty(); }
  // There are none any more.
  void forget_gpus();
  // GPU time of a scope that the client measured: it counts in the interval in which it arrives.
  void claim_gpu(uint32_t gpu, uint32_t slot, uint64_t gpu_ns);
  // Divides what is told of an interval that closed before: work by what was measured and else by time, the rest
  // by time.
  void give_gpu(const GpuUse& use, RunTable& table);

  // After settle(): for how long each slot was the followed one since the last close.
  void add_follow_times(std::map<uint32_t, uint64_t>& weights) const;

  void encode(ByteWriter& out) const;

  uint32_t run() const { return run_; }
  const Totals& totals() const { return totals_; }
  Totals& totals() { return totals_; }
  uint64_t last_close_ns() const { return last_close_ns_; }
  uint64_t counter(Column column) const { return last_[column]; }
  bool behind(const Reading& reading, Column column) const {
    return (reading.known & bit(column)) != 0 && reading.counter[column] > last_[column];
  }
  bool counts(Column column) const { return (last_known_ & bit(column)) != 0; }
  uint32_t birth_slot() const { return shares_.at(shares_.birth()).slot; }
  uint32_t follow_slot() const { return shares_.at(shares_.follow()).slot; }
  uint64_t cut_stamps() const { return cut_stamps_; }
  int primary_tid() const { return primary_tid_; }

 private:
  struct Stay {
    uint32_t share;
    uint64_t wall_ns;
  };
  struct Thread {
    uint32_t share = ScopeShares::kNone;
    uint32_t voided_slot = 0;  // where it was when its session was lost, if it said nothing since
    uint64_t since_ns = 0;     // its stay was accounted up to here
    std::optional<uint64_t> point[kClaimCount];  // its counters up to which claims were made
    std::optional<Switch> stamp;                 // its last stamped edge
    std::optional<uint64_t> process_ns;          // the process's clock at the edge that comes next
    std::vector<Stay> stays;  // since the CPU point, or since the last close without one
    size_t merge_at = 0;      // how many stays are merged by scope
    bool tail_read = false;   // in the interval that is closing
    bool unread = false;      // closed without its clock: the next claim is bounded by its stays
  };

  void decode_threads(ByteReader& in);
  int survivor(int leader, bool leader_ended) const;
  Thread& thread_at(int tid, uint64_t t_ns);
  static void add_stay(Thread& thread, Stay stay);
  void account_stay(int tid, Thread& thread, uint64_t t_ns);
  void move(int tid, Thread& thread, uint32_t share);
  void refresh_follow();
  uint64_t checked_stamp(const Thread& thread, const Switch& change);
  std::optional<uint64_t> cpu_at_end(const Thread& thread, const Stamp& next) const;
  void claim_cpu(Thread& thread, uint64_t cpu_ns);
  void claim_io(Thread& thread, Claim kind, uint64_t bytes);
  uint64_t increase(const Reading& reading, Column column);
  void count(RunTable& table, Column column, Amount amount);
  void weigh_remainder();
  void give_cpu(uint64_t used_ns, const Reading& reading, RunTable& table);
  void give_user_and_system(uint64_t used_ns, const Reading& reading, RunTable& table);
  void give_memory(uint64_t t_ns, const Reading& reading, RunTable& table);
  void give_slow(const Reading& reading, RunTable& table);
  void give_activity(RunTable& table);
  // Sets parts_ for the touched shares: claims first, the remainder by weights_.
  void divide(Claim kind, uint64_t amount);
  void give_parts(Column column, RunTable& table);
  void note_division(Column column, Amount amount, RunTable& table);
  void limit_carry(Claim kind);
  void start_interval(bool slow, uint64_t cpu_given_ns, uint64_t t_ns);
  void remember_interval(uint64_t t_ns);
  void add_memory_now(uint64_t bytes, Gauge gauge, RunTable& table);
  void give_of_gpu(uint32_t gpu, Column column, const std::vector<uint32_t>& slots, Amount amount,
                   const std::vector<uint64_t>& weights, RunTable& table);

  uint32_t run_;
  int primary_tid_;
  ScopeShares shares_;
  std::unordered_map<int, Thread> threads_;
  std::array<uint64_t, kReadingColumns> last_{};
  uint32_t last_known_ = 0;
  uint64_t user_given_ns_ = 0;  // on the scale of the kernel's own user time
  std::optional<uint64_t> memory_bytes_;
  uint64_t last_close_ns_ = 0;
  uint64_t stamped_ns_ = 0;    // that threads were seen to use, since then
  FollowedSegments segments_;  // not stored: a restarted agent divides what was before by time
  Totals totals_;
  uint64_t cut_stamps_ = 0;
  std::optional<ScopeHistory> history_;  // not stored
  std::vector<std::pair<uint32_t, uint64_t>> gpu_memory_;
  // GPU time of scopes that came in the interval of a device that is open. Not stored.
  struct GpuClaims {
    std::map<uint32_t, uint64_t> by_slot;
    uint64_t sum_ns = 0;
  };
  std::map<uint32_t, GpuClaims> gpu_claims_;  // by device

  // Scratch of close(), kept so that a tick allocates nothing once warm.
  std::vector<uint64_t> weights_;
  std::vector<uint64_t> cpu_weights_;
  std::vector<Amount> parts_;
  std::vector<Amount> more_;
  std::vector<std::pair<uint32_t, uint64_t>> slot_weights_;
};

}  // namespace lezea
