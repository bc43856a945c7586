// The rules by which one process's use is divided (docs/meaning.md), one fact each.
#include <initializer_list>

#include "attribution/apportion.h"
#include "attribution/process_account.h"
#include "base/clock.h"
#include "check.h"
#include "live_child.h"
#include "sampler/memory_estimate.h"
#include "sampler/thread_sums.h"

namespace lezea::test {
namespace {

constexpr uint32_t kRun = 1;
constexpr uint32_t kOtherRun = 2;
constexpr uint32_t kNowhere = 1;  // slots: unattributed,
constexpr uint32_t kA = 2;        // scopes,
constexpr uint32_t kB = 3;
constexpr uint32_t kC = 4;
constexpr uint32_t kOthers = 9;  // and one of the other run
constexpr int kLeader = 100;     // threads
constexpr int kSecond = 101;
constexpr int kThird = 102;
constexpr uint64_t kMs = 1'000'000;

std::vector<uint64_t> parts_of(Amount amount, const std::vector<uint64_t>& weights) {
  std::vector<Amount> parts;
  apportion(amount, weights, parts);
  return {parts.begin(), parts.end()};
}

RunTable two_runs() {
  RunTable table;
  table.open_run(kRun, kNowhere);
  table.open_run(kOtherRun, kOthers);
  table.define_slot(kA, kRun, 0);
  table.define_slot(kB, kRun, 0);
  table.define_slot(kC, kRun, 0);
  return table;
}

Reading zero_at(uint64_t ms) {
  Reading base;
  base.t_ns = ms * kMs;
  base.known = (1u << kReadingColumns) - 1;
  return base;
}

// One process of kRun, bound at 0 ms with every counter at 0; all times and CPU in ms.
struct Bench {
  void enter(int tid, uint64_t t_ms, uint32_t slot, std::optional<uint64_t> cpu_ms = {},
             std::optional<uint64_t> kernel_ms = {}) {
    Switch change;
    change.tid = tid;
    change.t_ns = t_ms * kMs;
    change.slot = slot;
    if (cpu_ms) change.cpu_ns = *cpu_ms * kMs;
    if (kernel_ms) change.kernel_ns = *kernel_ms * kMs;
    change.activation = slot != 0;
    account.apply(change);
  }
  void tail(int tid, uint64_t t_ms, std::optional<uint64_t> cpu_ms,
            std::optional<Stamp> next = {}) {
    account.settle(t_ms * kMs);
    ThreadReading now;
    if (cpu_ms) now.cpu_ns = *cpu_ms * kMs;
    account.claim_tail(tid, now, next);
  }
  Reading at(uint64_t t_ms, uint64_t cpu_ms) {
    Reading reading;
    reading.t_ns = t_ms * kMs;
    reading.set(kCpu, cpu_ms * kMs);
    return reading;
  }
  void close(const Reading& reading) {
    account.close(reading, table);
    CHECK_EQ(table.residual_columns(*table.run(kRun)), 0);
  }
  void close(uint64_t t_ms, uint64_t cpu_ms) { close(at(t_ms, cpu_ms)); }
  uint64_t total(uint32_t slot, Column column) {
    return static_cast<uint64_t>(table.slot(slot)->totals.value[column]);
  }
  uint64_t cpu(uint32_t slot) { return total(slot, kCpu) / kMs; }

  RunTable table = two_runs();
  ProcessAccount account{kRun, kNowhere, kLeader, zero_at(0)};
};

// --- threads that announce nothing

TEST("what the process's clock said at an edge divides what silent threads used") {
  Bench it;
  it.enter(kLeader, 0, kA);
  it.account.process_stamp(kLeader, 100 * kMs);
  it.enter(kLeader, 500, kB);
  it.close(1000, 1000);
  CHECK_EQ(it.cpu(kA), 100);
  CHECK_EQ(it.cpu(kB), 900);
}

TEST("without such a stamp they are divided by time") {
  Bench it;
  it.enter(kLeader, 0, kA);
  it.enter(kLeader, 500, kB);
  it.close(1000, 1000);
  CHECK_EQ(it.cpu(kA), 500);
  CHECK_EQ(it.cpu(kB), 500);
}

TEST("what threads claim is not the silent ones' too") {
  Bench it;
  it.enter(kLeader, 0, kA, 0);
  it.account.process_stamp(kLeader, 150 * kMs);
  it.enter(kLeader, 500, kB, 50);  // of the 150, 50 are its own
  it.tail(kLeader, 1000, 80);
  it.close(1000, 1080);
  CHECK_EQ(it.cpu(kA), 50 + 100);
  CHECK_EQ(it.cpu(kB), 30 + 900);
}

TEST("a claim that comes after a stamp of the process's clock is also of the time before it") {
  Bench it;
  it.enter(kLeader, 0, kA, 0);
  it.enter(kSecond, 0, kC, 0);
  it.account.process_stamp(kLeader, 500 * kMs);
  it.enter(kLeader, 500, kB, 0);
  it.tail(kSecond, 1000, 1000);
  it.tail(kLeader, 1000, 0);
  it.close(1000, 1500);  // the silent ones used 500, all of it while kB was followed
  CHECK_EQ(it.cpu(kC), 1000);
  CHECK_EQ(it.cpu(kA), 0);
  CHECK_EQ(it.cpu(kB), 500);
}

TEST("a stamp of the process's clock whose edge was lost says nothing of a later interval") {
  Bench it;
  it.enter(kLeader, 0, kA);
  it.account.process_stamp(kLeader, 100 * kMs);
  it.close(1000, 1000);
  it.enter(kLeader, 1500, kB);
  it.close(2000, 2000);
  CHECK_EQ(it.cpu(kA), 1500);
  CHECK_EQ(it.cpu(kB), 500);
}

TEST("of stamps of the process's clock right after one another the first counts") {
  Bench it;
  it.enter(kLeader, 0, kA);
  it.account.process_stamp(kLeader, 100 * kMs);
  it.enter(kLeader, 500, kB);
  it.account.process_stamp(kLeader, 900 * kMs);
  it.enter(kLeader, 505, kA);
  it.close(1000, 1000);
  CHECK_EQ(it.cpu(kA), 100 + 891);
  CHECK_EQ(it.cpu(kB), 9);
}

TEST("edges between two stamps of the process's clock are divided by time") {
  Bench it;
  it.enter(kLeader, 0, kA);
  it.enter(kLeader, 300, kB);
  it.account.process_stamp(kLeader, 400 * kMs);
  it.enter(kLeader, 400, kA);
  it.close(1000, 1000);
  CHECK_EQ(it.cpu(kA), 300 + 600);
  CHECK_EQ(it.cpu(kB), 100);
}

TEST("a stamp of the process's clock holds for its interval only") {
  Bench it;
  it.enter(kLeader, 0, kA);
  it.account.process_stamp(kLeader, 100 * kMs);
  it.enter(kLeader, 500, kB);
  it.close(1000, 1000);
  it.enter(kLeader, 1500, kA);
  it.close(2000, 2000);
  CHECK_EQ(it.cpu(kA), 100 + 500);
  CHECK_EQ(it.cpu(kB), 900 + 500);
}

TEST("a process's clock that lies moves only what its own scopes have") {
  for (const uint64_t lie : {uint64_t{0}, uint64_t{7} * kMs, UINT64_MAX}) {
    Bench it;
    it.enter(kLeader, 0, kA);
    it.account.process_stamp(kLeader, lie);
    it.enter(kLeader, 500, kB);
    it.account.process_stamp(kLeader, lie / 2);
    it.enter(kLeader, 600, kA);
    it.account.process_stamp(kSecond, UINT64_MAX);
    it.close(1000, 1000);
    CHECK_EQ(it.cpu(kA) + it.cpu(kB), 1000);
  }
}

// --- integers

TEST("what does not divide goes to the largest remainders, ties to the earlier") {
  CHECK((parts_of(7, {5, 3, 1}) == std::vector<uint64_t>{4, 2, 1}));
  CHECK((parts_of(10, {1, 1, 1}) == std::vector<uint64_t>{4, 3, 3}));
}

TEST("a weight of 0 gets nothing, unless all are 0: then the first gets everything") {
  CHECK((parts_of(3, {0, 1, 1}) == std::vector<uint64_t>{0, 2, 1}));
  CHECK((parts_of(3, {0, 0}) == std::vector<uint64_t>{3, 0}));
}

TEST("amounts and weights up to the full width divide exactly") {
  const Amount all = ~Amount{0};
  for (const std::vector<uint64_t>& weights :
       {std::vector<uint64_t>{1, 1}, {1, 2, 4}, {UINT64_MAX, UINT64_MAX, 1}, {UINT64_MAX, 1}}) {
    std::vector<Amount> parts;
    apportion(all, weights, parts);
    Amount sum = 0;
    for (const Amount part : parts) sum += part;
    CHECK(sum == all);
    if (weights[0] == weights[1]) CHECK(parts[0] - parts[1] <= 1);
  }
}

// --- stamps

TEST("stamps divide a process's CPU among the scopes that its thread was in") {
  Bench it;
  it.enter(kLeader, 0, kA, 0);
  it.enter(kLeader, 60, kB, 10);
  it.enter(kLeader, 100, 0, 50);
  it.close(100, 50);
  CHECK_EQ(it.cpu(kA), 10);
  CHECK_EQ(it.cpu(kB), 40);
}

TEST("the first stamp of a thread belongs, whole, to before its scope") {
  Bench it;
  it.enter(kSecond, 50, kA, 40);
  it.tail(kSecond, 100, 70);
  it.close(100, 70);
  CHECK_EQ(it.cpu(kNowhere), 40);
  CHECK_EQ(it.cpu(kA), 30);
}

TEST("a stay over closed intervals gets what its stamps say less what it was given") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.tail(kSecond, 100, 60);
  it.close(100, 60);
  it.enter(kSecond, 150, 0, 80);
  it.close(200, 90);
  CHECK_EQ(it.cpu(kA), 80);
  CHECK_EQ(it.cpu(kNowhere), 10);
}

TEST("a stamp above the wall time since the last is cut and counted") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.enter(kSecond, 10, 0, 500);
  it.close(100, 100);
  CHECK_EQ(it.cpu(kA), 11);  // and 1 ms, for time and clock are not read in one instant
  CHECK_EQ(it.account.cut_stamps(), 1);
}

TEST("a stamp above what the kernel says of the thread is cut to that, and counted") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.enter(kSecond, 90, 0, 80, 5);
  it.close(100, 50);
  CHECK_EQ(it.cpu(kA), 5);
  CHECK_EQ(it.account.cut_stamps(), 1);
}

TEST("a stamp within the kernel's lag is believed") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.enter(kSecond, 90, 0, 25, 5);
  it.close(100, 50);
  CHECK_EQ(it.cpu(kA), 25);
  CHECK_EQ(it.account.cut_stamps(), 0);
}

TEST("a stamp that falls claims nothing, and nothing twice when it rises again") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.enter(kSecond, 40, kA, 30);
  it.enter(kSecond, 50, kA, 20);
  it.enter(kSecond, 60, 0, 30);
  it.close(100, 100);
  CHECK_EQ(it.cpu(kA), 30);
}

TEST("a stamp of more than any clock can say wraps nothing") {
  Bench it;
  Switch change;
  change.tid = kSecond;
  change.slot = kA;
  change.cpu_ns = UINT64_MAX;
  it.account.apply(change);
  change.t_ns = 10 * kMs;
  it.account.apply(change);
  it.close(100, 100);
  CHECK_EQ(it.cpu(kA), 0);
  CHECK_EQ(it.cpu(kNowhere), 100);
}

TEST("a process's counter that fell starts anew, and the total stays") {
  Bench it;
  it.close(100, 50);
  it.close(200, 20);
  it.close(300, 45);
  CHECK_EQ(it.cpu(kNowhere), 75);
}

// --- claims above the kernel's figure

TEST("claims above the kernel's figure are carried, and given when it comes") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.enter(kSecond, 20, 0, 15);
  it.close(100, 5);
  CHECK_EQ(it.cpu(kA), 5);
  it.close(200, 25);
  CHECK_EQ(it.cpu(kA), 15);
  CHECK_EQ(it.cpu(kNowhere), 10);
}

TEST("what a process's clock lags while its virtual CPU is taken away is carried whole") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.enter(kThird, 0, kB, 0);
  for (uint64_t t_ms = 100; t_ms <= 500; t_ms += 100) {
    it.tail(kSecond, t_ms, 20);  // taken away at 20 ms
    it.tail(kThird, t_ms, t_ms / 10);
    it.close(t_ms, 20 + t_ms / 10);
  }
  it.tail(kSecond, 600, 600);  // back again, just after the process was read
  it.tail(kThird, 600, 60);
  it.close(600, 80);
  it.tail(kSecond, 700, 700);
  it.tail(kThird, 700, 70);
  it.close(700, 770);
  CHECK_EQ(it.cpu(kA), 700);
  CHECK_EQ(it.cpu(kB), 70);
  CHECK_EQ(it.cpu(kNowhere), 0);
  CHECK_EQ(it.account.cut_stamps(), 0);
}

TEST("no more than 10 s a thread are carried") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.enter(kSecond, 20'000, 0, 15'000);
  it.close(20'000, 1000);
  CHECK_EQ(it.account.cut_stamps(), 1);
  it.close(21'000, 16'000);
  CHECK_EQ(it.cpu(kA), 11'000);
}

TEST("without time and without claims an increase goes where the process is") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.enter(kSecond, 20, 0, 15);
  it.close(100, 5);   // 10 are carried for A
  it.close(100, 65);  // of the same instant: a last word
  CHECK_EQ(it.cpu(kA), 15);
  CHECK_EQ(it.cpu(kNowhere), 50);
}

// --- tails

TEST("a thread's clock read after the end counts no more than the wall time since its stamp") {
  Bench it;
  it.enter(kSecond, 90, kA, 0);
  it.tail(kSecond, 100, 14);
  it.close(100, 30);
  CHECK_EQ(it.cpu(kA), 10);
}

TEST("nor more than the thread's next stamp says") {
  Bench it;
  it.enter(kSecond, 90, kA, 0);
  it.tail(kSecond, 100, 9, Stamp{101 * kMs, 6 * kMs});
  it.close(100, 30);
  CHECK_EQ(it.cpu(kA), 6);
}

TEST("the tail of a thread that has gone lies between its last and its next stamp") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.tail(kSecond, 50, {}, Stamp{200 * kMs, 100 * kMs});
  it.close(50, 50);
  CHECK_EQ(it.cpu(kA), 25);
}

TEST("a thread whose clock was not read at a close claims no more than its stays since") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.close(100, 60);  // given by time, for its clock was not read
  it.enter(kSecond, 110, 0, 70);
  it.close(200, 80);
  CHECK_EQ(it.cpu(kA), 10);
}

// --- where a thread is

TEST("threads that announce nothing are where their process's primary thread is") {
  Bench it;
  it.enter(kLeader, 0, kA);
  CHECK_EQ(it.account.slot_of(kSecond), kA);
  it.close(100, 80);
  CHECK_EQ(it.cpu(kA), 80);
}

TEST("else in the scope that their process was born in") {
  Bench it;
  it.account.set_birth(kB, 0);
  CHECK_EQ(it.account.slot_of(kSecond), kB);
  it.enter(kSecond, 0, kA);
  CHECK_EQ(it.account.slot_of(kThird), kB);
}

TEST("scope 0 means to follow the rules again") {
  Bench it;
  it.enter(kLeader, 0, kA);
  it.enter(kSecond, 0, kB);
  it.enter(kSecond, 10, 0);
  CHECK_EQ(it.account.slot_of(kSecond), kA);
  it.enter(kLeader, 10, 0);
  CHECK_EQ(it.account.slot_of(kSecond), kNowhere);
}

TEST("a thread's end clears its id, and its last clock counts") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.account.end_thread(kSecond, 50 * kMs, 40 * kMs);
  CHECK_EQ(it.account.slot_of(kSecond), kNowhere);
  it.close(100, 60);
  CHECK_EQ(it.cpu(kA), 40);
  CHECK_EQ(it.total(kA, kActive), 50 * kMs);
}

TEST("after an overrun a thread is nowhere until it announces again") {
  Bench it;
  it.enter(kSecond, 0, kA);
  it.account.void_thread(kSecond, 30 * kMs);
  CHECK_EQ(it.account.slot_of(kSecond), kNowhere);
  it.enter(kSecond, 60, kB);
  it.close(100, 1);
  CHECK_EQ(it.total(kA, kActive), 30 * kMs);
  CHECK_EQ(it.total(kB, kActive), 40 * kMs);
}

TEST("threads that are not listed any more have ended") {
  Bench it;
  it.enter(kSecond, 0, kA);
  it.enter(kThird, 0, kB);
  it.account.keep_threads({kLeader, kThird}, 10 * kMs);
  CHECK_EQ(it.account.slot_of(kSecond), kNowhere);
  CHECK_EQ(it.account.slot_of(kThird), kB);
}

TEST("the scope of the thread that execs is the birth scope from then on") {
  Bench leader;
  leader.enter(kLeader, 0, kA);
  leader.enter(kSecond, 0, kB);
  leader.account.end_thread(kSecond, 10 * kMs, {});
  leader.account.exec(kLeader, false, 10 * kMs);
  CHECK_EQ(leader.account.birth_slot(), kA);
  Bench second;
  second.enter(kLeader, 0, kA);
  second.enter(kSecond, 0, kB);
  second.account.end_thread(kLeader, 10 * kMs, {});
  second.account.exec(kLeader, true, 10 * kMs);
  CHECK_EQ(second.account.birth_slot(), kB);
  CHECK_EQ(second.account.slot_of(kSecond), kB);  // follows: what it announced is void
}

TEST("an exec'd process's primary thread is the leader") {
  Bench it;
  it.account.set_primary(kSecond, 0);
  it.account.exec(kLeader, true, 10 * kMs);
  it.enter(kLeader, 20, kA);
  CHECK_EQ(it.account.slot_of(kThird), kA);
}

namespace {

constexpr uint32_t kVeryMany = 10'000;
constexpr uint32_t kChanges = 20 * kVeryMany;

// Thread CPU time of so many changes among so many scopes; the machine may be busy with other things.
unsigned long change_among(Bench& it, uint32_t scopes) {
  for (uint32_t i = 0; i < scopes; ++i) it.table.define_slot(1000 + i, kRun, 0);
  it.enter(kSecond, 0, kA);
  it.tail(kSecond, 1, 0);
  it.close(1, 0);
  const unsigned long begun_ns = test::clock_now_ns(CLOCK_THREAD_CPUTIME_ID);
  for (uint32_t i = 0; i < kChanges; ++i) it.enter(kSecond, 2 + i, 1000 + i % scopes);
  return test::clock_now_ns(CLOCK_THREAD_CPUTIME_ID) - begun_ns;
}

}  // namespace

TEST("a thread that changes among very many scopes without stamps costs no more for each") {
  Bench few;
  Bench it;
  constexpr uint32_t kScopes = kVeryMany;
  const unsigned long few_ns = change_among(few, 10);
  // Looking through all of them at each change would take hundreds of times as long.
  CHECK(change_among(it, kScopes) < 30 * few_ns);
  it.tail(kSecond, 2 + 20 * kScopes, 5 * kScopes);
  it.close(2 + 20 * kScopes, 5 * kScopes);
  CHECK_EQ(it.total(1000, kActive), 20 * kMs);
  CHECK_EQ(it.total(1000 + kScopes / 2, kCpu), it.total(1001, kCpu));
}

// --- other quantities

TEST("storage bytes go by the stamps at scope edges, to the scope being left") {
  Bench it;
  it.enter(kSecond, 0, kA);
  it.account.io_stamp(kSecond, kClaimWrite, 1000);  // before: no one knows where
  it.account.io_stamp(kSecond, kClaimWrite, 9000);
  it.enter(kSecond, 50, kB);
  it.account.io_stamp(kSecond, kClaimWrite, 9500);
  it.enter(kSecond, 60, 0);
  Reading reading = it.at(100, 0);
  reading.slow = true;
  reading.set(kIoWrite, 8500);
  it.close(reading);
  CHECK_EQ(it.total(kA, kIoWrite), 8000);
  CHECK_EQ(it.total(kB, kIoWrite), 500);
}

TEST("process-wide quantities go in equal parts to the announced scopes") {
  Bench it;
  it.enter(kLeader, 0, kA);
  it.enter(kSecond, 0, kB);
  it.enter(kThird, 0, 0);
  Reading reading = it.at(100, 0);
  reading.slow = true;
  reading.set(kMinorFaults, 10);
  it.close(reading);
  CHECK_EQ(it.total(kA, kMinorFaults), 5);
  CHECK_EQ(it.total(kB, kMinorFaults), 5);
}

TEST("to where the process is only when there is none") {
  Bench it;
  it.enter(kSecond, 0, kB);
  it.enter(kSecond, 50, 0);
  Reading reading = it.at(100, 0);
  reading.slow = true;
  reading.set(kMinorFaults, 10);
  it.close(reading);
  CHECK_EQ(it.total(kB, kMinorFaults), 5);
  CHECK_EQ(it.total(kNowhere, kMinorFaults), 5);
}

TEST("a slow column is divided by all the time since it was last read") {
  Bench it;
  it.enter(kSecond, 0, kA);
  it.close(100, 0);
  it.enter(kSecond, 100, kB);
  Reading reading = it.at(200, 0);
  reading.slow = true;
  reading.set(kMinorFaults, 10);
  it.close(reading);
  CHECK_EQ(it.total(kA, kMinorFaults), 5);
  CHECK_EQ(it.total(kB, kMinorFaults), 5);
}

TEST("user and system time sum to the CPU time, whatever the kernel's split says") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  it.enter(kSecond, 50, 0, 30);
  Reading reading = it.at(100, 60);
  reading.set(kCpuUser, 90 * kMs);
  it.close(reading);
  CHECK_EQ(it.total(kA, kCpuUser) + it.total(kNowhere, kCpuUser), 60 * kMs);
  CHECK_EQ(it.total(kA, kCpuSystem), 0);
}

TEST("memory that could not be read again is what it was") {
  Bench it;
  Reading base = zero_at(0);
  base.memory_bytes = 1000;
  it.account = ProcessAccount(kRun, kNowhere, kLeader, base);
  it.close(100, 0);
  CHECK_EQ(it.total(kNowhere, kMemoryTime), 1000 * 100 * kMs);
}

TEST("the memory of a process in one scope is the mean of both ends") {
  Bench it;
  ProcessAccount account(kRun, kNowhere, kLeader, [] {
    Reading base = zero_at(0);
    base.memory_bytes = 1000;
    return base;
  }());
  Reading reading = it.at(100, 0);
  reading.memory_bytes = 5000;
  account.close(reading, it.table);
  CHECK_EQ(it.total(kNowhere, kMemoryTime), 3000 * 100 * kMs);
}

TEST("an edge divides memory: the old size until then, the new one since") {
  Bench it;
  Reading base = zero_at(0);
  base.memory_bytes = 1000;
  it.account = ProcessAccount(kRun, kNowhere, kLeader, base);
  it.enter(kSecond, 60, kA);
  Reading reading = it.at(100, 0);
  reading.memory_bytes = 5000;
  it.close(reading);
  CHECK_EQ(it.total(kNowhere, kMemoryTime), 1000 * 60 * kMs);
  CHECK_EQ(it.total(kA, kMemoryTime), 5000 * 40 * kMs);
}

TEST("threads are active where they announced, and activations are counted") {
  Bench it;
  it.enter(kLeader, 0, kA);
  it.enter(kSecond, 50, kA);
  it.close(100, 1);
  CHECK_EQ(it.total(kA, kActive), 150 * kMs);
  CHECK_EQ(it.total(kA, kActivations), 2);
  CHECK_EQ(it.total(kNowhere, kActive), 0);
}

TEST("a process's start bounds since when a thread is active") {
  Bench it;
  Switch change;
  change.tid = kSecond;
  change.t_ns = 1;
  change.counts_from_ns = 40 * kMs;
  change.slot = kA;
  it.account.apply(change);
  it.close(100, 0);
  CHECK_EQ(it.total(kA, kActive), 60 * kMs);
}

// --- to bytes and back

ProcessAccount round_trip(const ProcessAccount& account) {
  ByteWriter out;
  account.encode(out);
  ByteReader in(out.bytes());
  ProcessAccount again(kRun, in);
  CHECK(in.finished());
  return again;
}

// What is given by the next close, with and without the round trip in the middle of the interval.
TEST("an account goes on from its bytes in the middle of an interval") {
  Bench plain;
  Bench coded;
  for (Bench* it : {&plain, &coded}) {
    Reading base = zero_at(0);
    base.memory_bytes = 1000;
    it->account = ProcessAccount(kRun, kNowhere, kLeader, base);
    it->enter(kLeader, 0, kB, 0);
    it->enter(kSecond, 0, kA, 0);
    it->tail(kSecond, 50, 30);
    it->close(50, 20);
    it->enter(kSecond, 60, kB, 35);
    it->enter(kThird, 70, kA, 1);
    it->account.io_stamp(kThird, kClaimRead, 100);
    if (it == &coded) it->account = round_trip(it->account);
    it->enter(kSecond, 80, kA, 50);
    it->account.io_stamp(kThird, kClaimRead, 700);
    it->account.settle(100 * kMs);
    it->account.claim_tail(kLeader, {20 * kMs, {}, {}}, {});
    it->account.claim_tail(kSecond, {60 * kMs, {}, {}}, {});
    Reading reading = it->at(100, 90);
    reading.memory_bytes = 3000;
    reading.slow = true;
    reading.set(kIoRead, 1000);
    reading.set(kMinorFaults, 12);
    it->close(reading);
  }
  for (const uint32_t slot : {kNowhere, kA, kB}) {
    for (int column = 0; column < kReadingColumns; ++column) {
      CHECK_EQ(coded.total(slot, static_cast<Column>(column)),
               plain.total(slot, static_cast<Column>(column)));
    }
  }
}

TEST("the last edge of a process is kept with its bytes") {
  Bench plain;
  Bench coded;
  for (Bench* it : {&plain, &coded}) {
    Reading base = zero_at(0);
    base.memory_bytes = 1000;
    it->account = ProcessAccount(kRun, kNowhere, kLeader, base);
    it->enter(kSecond, 20, kA);
    it->enter(kThird, 50, kA);  // no edge: the process is in A already
    if (it == &coded) it->account = round_trip(it->account);
    Reading reading = it->at(100, 0);
    reading.memory_bytes = 5000;
    it->close(reading);
  }
  CHECK_EQ(coded.total(kA, kMemoryTime), plain.total(kA, kMemoryTime));
}

TEST("bytes that end too soon are not sound") {
  Bench it;
  it.enter(kSecond, 0, kA, 0);
  ByteWriter out;
  it.account.encode(out);
  const std::string whole = out.take();
  for (size_t size = 0; size < whole.size(); ++size) {
    ByteReader in(std::string_view(whole).substr(0, size));
    const ProcessAccount account(kRun, in);
    CHECK(!in.ok());
  }
}

// --- runs

TEST("a slot of another run is unattributed") {
  RunTable table = two_runs();
  CHECK_EQ(table.slot_or_unattributed(kRun, kA), kA);
  CHECK_EQ(table.slot_or_unattributed(kRun, kOthers), kNowhere);
  CHECK_EQ(table.slot_or_unattributed(kRun, 77), kNowhere);
}

TEST("what a run has more than its slots is seen") {
  RunTable table = two_runs();
  table.give(kA, kCpu, 5);
  CHECK_EQ(table.residual_columns(*table.run(kRun)), bit(kCpu));
}

TEST("a peak is the greatest sum at one tick over the subtree") {
  RunTable table;
  table.open_run(kRun, kNowhere);
  table.define_slot(kA, kRun, 0);
  table.define_slot(kB, kRun, kA);
  for (const auto& [outer, inner] : {std::pair<uint64_t, uint64_t>{10, 40}, {30, 5}}) {
    table.begin_memory_tick();
    table.add_memory(kA, outer);
    table.add_memory(kB, inner);
    table.end_memory_tick();
  }
  CHECK_EQ(static_cast<uint64_t>(table.slot(kA)->totals.value[kMemoryPeak]), 50);
  CHECK_EQ(static_cast<uint64_t>(table.slot(kB)->totals.value[kMemoryPeak]), 40);
  CHECK_EQ(table.slot(kNowhere)->totals.known & bit(kMemoryPeak), 0);
}

// --- figures that the kernel keeps per thread

using Sums = ThreadSums<1>;

TEST("an ended thread counts with its exit record, which may be rounded below what was seen") {
  Sums sums;
  sums.live(kSecond, {1500});
  const Sums::Figures record{1024};
  sums.ended(kSecond, &record);
  CHECK_EQ(sums.total()[0], 1500);
  const Sums::Figures more{2048};
  sums.ended(kThird, &more);
  CHECK_EQ(sums.total()[0], 3548);
}

TEST("between the end and the record the last figure counts, and then the record instead") {
  Sums sums;
  sums.live(kSecond, {1500});
  sums.gone(kSecond);
  CHECK_EQ(sums.total()[0], 1500);
  const Sums::Figures record{2048};
  sums.ended(kSecond, &record);
  CHECK_EQ(sums.total()[0], 2048);
}

TEST("a thread that execs goes on under the leader's id, whose own record comes later") {
  Sums sums;
  sums.live(kLeader, {100});
  sums.live(kSecond, {30});
  sums.gone(kLeader);
  sums.exec(kLeader);
  CHECK_EQ(sums.living().count(kLeader), 1);
  sums.live(kLeader, {50});
  CHECK_EQ(sums.total()[0], 150);
  const Sums::Figures record{110};
  sums.ended(kLeader, &record);  // the old leader's: it is the one that was gone
  CHECK_EQ(sums.total()[0], 160);
  const Sums::Figures last{70};
  sums.ended(kLeader, &last);
  CHECK_EQ(sums.total()[0], 180);
}

TEST("an exec by the leader changes nothing") {
  Sums sums;
  sums.live(kLeader, {100});
  sums.exec(kLeader);
  CHECK_EQ(sums.total()[0], 100);
}

TEST("of threads that went missing growth counts above the greatest only") {
  Sums sums;
  sums.live(kLeader, {100});
  sums.live(kSecond, {300});
  sums.missed({kLeader}, kLeader);
  sums.live(kLeader, {320});  // perhaps the second exec'd and is the leader now
  CHECK_EQ(sums.total()[0], 100 + 320);
}

TEST("a fork while the proportion is being read has it read once more, and only once") {
  MemoryEstimate memory;
  constexpr uint64_t kRss = 10'000'000;
  memory.starts_fresh();
  CHECK(memory.due(1, kRss));
  memory.asked();
  memory.hurry(2);
  memory.refreshed(kRss, kRss, 3, 1);  // perhaps from before the fork
  CHECK(memory.due(4, kRss));
  memory.asked();
  memory.refreshed(kRss, kRss / 2, 5, 1);
  CHECK(!memory.due(6, kRss));
  CHECK_EQ(memory.proportional_bytes(kRss), kRss / 2);
}

}  // namespace
}  // namespace lezea::test
