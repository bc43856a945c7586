// A client that lies in every record it may write: times, clocks and bytes of any value, scopes and threads
// in any order, between readings of the kernel that only grow. Whatever it says, what its process used is
// given to its run once, and to the run's scopes in the same sum.
#include <string>
#include <vector>

#include "attribution/process_account.h"
#include "attribution/run_table.h"
#include "fuzz.h"

namespace lezea::fuzz {
namespace {

constexpr uint32_t kRun = 1;
constexpr uint32_t kUnattributed = 1;
constexpr uint32_t kSlots = 6;
constexpr int kTids = 4;
constexpr uint64_t kSlackNs = 1'000'000;  // a record may be this far ahead of the reader's clock

enum Operation : uint8_t {
  kSwitch,
  kIo,
  kEnd,
  kVoid,
  kRestore,
  kExec,
  kPrimary,
  kKeep,
  kReopen,
  kClose
};

class Client {
 public:
  explicit Client(Input& input) : input_(input), account_(kRun, 2, kFirstTid, base()) {
    table_.open_run(kRun, kUnattributed);
    for (uint32_t slot = 2; slot <= kSlots; slot++) table_.define_slot(slot, kRun, slot / 2);
  }

  void run() {
    while (!input_.empty()) operate(input_.byte());
    close();
    check();
  }

 private:
  static constexpr int kFirstTid = 100;
  static Reading base() {
    Reading reading;
    reading.t_ns = 1;
    reading.known = (1u << kReadingColumns) - 1;
    return reading;
  }

  int tid() { return kFirstTid + input_.byte() % kTids; }
  uint64_t time() { return input_.number<uint64_t>() % (now_ns_ + kSlackNs); }

  void operate(uint8_t operation) {
    switch (operation % 16) {
      case kSwitch:
        change();
        break;
      case kIo:
        account_.io_stamp(tid(), Claim(1 + input_.byte() % 2), input_.number<uint64_t>());
        break;
      case kEnd:
        account_.end_thread(tid(), time(), kernel_clock());
        break;
      case kVoid:
        account_.void_announcements(time());
        break;
      case kRestore:
        account_.restore_announcements();
        break;
      case kExec:
        account_.exec(tid(), input_.byte() % 2 == 0, time());
        break;
      case kPrimary:
        account_.set_primary(tid(), time());
        break;
      case kKeep:
        account_.keep_threads({kFirstTid, kFirstTid + input_.byte() % kTids}, time());
        break;
      case kReopen:
        store_and_restore();
        break;
      case kClose:
        close();
        break;
      default:
        change();
        break;
    }
  }

  // What the kernel says is no lie, but may be missing.
  std::optional<uint64_t> kernel_clock() {
    if (input_.byte() % 2 == 0) return std::nullopt;
    return input_.number<uint32_t>();
  }

  void change() {
    Switch change;
    change.tid = tid();
    change.t_ns = time();
    change.slot = input_.byte() % (kSlots + 1);
    if (input_.byte() % 2 == 0) {
      change.cpu_ns = input_.number<uint64_t>();
      change.kernel_ns = kernel_clock();
    }
    change.activation = input_.byte() % 2 == 0;
    account_.apply(change);
  }

  void store_and_restore() {
    ByteWriter out;
    account_.encode(out);
    ByteReader in(out.bytes());
    account_ = ProcessAccount(kRun, in);
    EXPECT(in.finished());
  }

  void close() {
    now_ns_ += input_.number<uint32_t>();
    Reading reading;
    reading.t_ns = now_ns_;
    reading.slow = input_.byte() % 2 == 0;
    reading.known = (1u << kReadingColumns) - 1;
    for (int column = 0; column < kReadingColumns; column++) {
      counters_[column] += input_.number<uint16_t>();
      reading.counter[column] = counters_[column];
    }
    reading.memory_bytes = input_.number<uint32_t>();
    account_.settle(reading.t_ns);
    std::vector<int> tids;
    account_.threads_to_read(tids);
    for (const int tid : tids) account_.claim_tail(tid, {kernel_clock(), {}, {}}, std::nullopt);
    account_.close(reading, table_);
    check();
  }

  void check() {
    const Run& run = *table_.run(kRun);
    EXPECT(table_.residual_columns(run) == 0);
    for (int column = 0; column < kReadingColumns; column++) {
      EXPECT(account_.totals().value[column] == run.totals.value[column]);
    }
    EXPECT(run.totals.value[kCpu] <= counters_[kCpu]);
    EXPECT(run.totals.value[kIoWrite] <= counters_[kIoWrite]);
  }

  Input& input_;
  RunTable table_;
  ProcessAccount account_;
  uint64_t now_ns_ = 1;
  std::array<uint64_t, kReadingColumns> counters_{};
};

}  // namespace
}  // namespace lezea::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lezea::fuzz::Input input(data, size);
  lezea::fuzz::Client(input).run();
  return 0;
}
