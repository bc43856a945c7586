// A client that does anything to its ring: wrong headers, heads that jump or run back, records that lie,
// between and within drains. The real reader reads a real memfd; what it owes for any bytes is checked:
// no record twice or unpublished, none that lies, and each that was published taken or counted.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "fuzz.h"
#include "ring_writer.h"
#include "scope/ring_file.h"

namespace lezea::fuzz {
namespace {

constexpr uint32_t kLanes = 3;
constexpr uint32_t kCapacity = LEZEA_RING_MIN_LANE_CAPACITY;
constexpr uint32_t kMostLanes = 64;

enum Operation : uint8_t {
  kBytes,
  kHonest,
  kLie,
  kHead,
  kMove,
  kNote,
  kTake,
  kTorn,
  kRestore,
  kOperations
};

// What the reader must have kept to, over all drains.
class Book {
 public:
  explicit Book(uint32_t lanes) : next_(lanes, 0) {}

  void check_take(RingFile& ring, uint8_t devices, uint64_t now_ns) {
    const bool pending = ring.pending();
    const uint64_t announced = pending ? ring.new_records_at_last_note() : 0;
    taken_.clear();
    RingLosses losses;
    ring.take(taken_, losses, devices, now_ns);
    EXPECT(!ring.pending());
    EXPECT(taken_.size() + losses.lost + losses.forged == announced);
    EXPECT(taken_.size() <= RingFile::kMaxRecordsPerTake);
    EXPECT(!ring.voided() || taken_.empty());
    for (const TakenRecord& taken : taken_) check_record(taken, devices, now_ns);
    EXPECT(std::is_sorted(losses.overrun_lanes.begin(), losses.overrun_lanes.end()));
    for (const uint32_t lane : losses.overrun_lanes) EXPECT(lane < ring.lanes());
    const std::vector<uint64_t> positions = ring.positions();
    for (size_t lane = 0; lane < next_.size(); lane++) EXPECT(positions[lane] >= next_[lane]);
  }

  void restart() { std::fill(next_.begin(), next_.end(), 0); }

 private:
  void check_record(const TakenRecord& taken, uint8_t devices, uint64_t now_ns) {
    EXPECT(taken.lane < next_.size());
    EXPECT(taken.n >= next_[taken.lane]);
    next_[taken.lane] = taken.n + 1;
    const RingRecord& record = taken.record;
    EXPECT(record.seq == static_cast<uint32_t>(taken.n + 1));
    EXPECT(record.t_mono_ns != 0 && record.t_mono_ns <= now_ns + 1'000'000);
    EXPECT(record.kind < LEZEA_RING_KINDS);
    EXPECT(record.kind != LEZEA_RING_KIND_GPU || record.device < devices);
  }

  std::vector<uint64_t> next_;  // by lane
  std::vector<TakenRecord> taken_;
};

class Client {
 public:
  explicit Client(Input& input) : input_(input), writer_(kLanes, kCapacity) {}

  RingWriter& writer() { return writer_; }

  void overwrite_header() {
    const std::string_view bytes = input_.bytes(sizeof(RingHeader));
    std::memcpy(writer_.header(), bytes.data(), bytes.size());
  }

  void put(bool honest) {
    RingRecord fields{};
    fields.t_mono_ns = 1;
    const uint32_t lane = input_.byte() % kLanes;
    const uint32_t count = honest ? 1u + 2u * input_.byte() : 1;
    if (!honest) {
      const std::string_view bytes = input_.bytes(sizeof fields);
      std::memcpy(&fields, bytes.data(), bytes.size());
    }
    for (uint32_t i = 0; i < count; i++) writer_.put(lane, fields);
  }

  // Anywhere in the file: the lane table and the records.
  void write_bytes() {
    const uint64_t most = lezea_ring_file_bytes(kLanes, kCapacity) - UINT8_MAX;
    const uint64_t offset = input_.number<uint32_t>() % most;
    const std::string_view bytes = input_.bytes(input_.byte());
    std::memcpy(reinterpret_cast<char*>(writer_.header()) + offset, bytes.data(), bytes.size());
  }

  void set_head() { writer_.set_head(input_.byte() % kLanes, input_.number<uint64_t>()); }

  void move_head() {
    const uint32_t lane = input_.byte() % kLanes;
    const auto by = static_cast<uint64_t>(int64_t{input_.number<int16_t>()});
    writer_.set_head(lane, writer_.head(lane) + by);
  }

 private:
  Input& input_;
  RingWriter writer_;
};

void restore_positions(Input& input, RingFile& ring, Book& book) {
  std::vector<uint64_t> positions(input.byte() % (kMostLanes + 1));
  for (uint64_t& position : positions) position = input.number<uint32_t>();
  ring.set_positions(positions);
  book.restart();
}

void drive(Input& input, Client& client, RingFile& ring) {
  Book book(ring.lanes());
  uint64_t now_ns = 1;
  while (!input.empty()) {
    switch (static_cast<Operation>(input.byte() % kOperations)) {
      case kBytes:
        client.write_bytes();
        break;
      case kHonest:
        client.put(true);
        break;
      case kLie:
        client.put(false);
        break;
      case kHead:
        client.set_head();
        break;
      case kMove:
        client.move_head();
        break;
      case kNote:
        ring.note_heads();
        break;
      case kTake:
        now_ns += input.byte();
        book.check_take(ring, input.byte() % 4, now_ns);
        break;
      case kTorn:  // published between the note and the take
        ring.note_heads();
        client.put(input.byte() % 2 == 0);
        book.check_take(ring, 1, now_ns);
        break;
      case kRestore:
        restore_positions(input, ring, book);
        break;
      case kOperations:
        break;
    }
  }
  ring.note_heads();
  book.check_take(ring, 2, UINT64_MAX - 1'000'000);
}

}  // namespace
}  // namespace lezea::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lezea;
  fuzz::Input input(data, size);
  const bool lies = input.byte() % 4 == 0;
  fuzz::Client client(input);
  if (lies) client.overwrite_header();
  std::string why;
  Result<RingFile> ring = RingFile::adopt(client.writer().duplicate(), &why);
  const RingHeader good = client.writer().good_header();
  const bool sound = std::memcmp(client.writer().header(), &good, sizeof good) == 0;
  EXPECT(ring.ok() == sound);
  EXPECT(ring.ok() || !why.empty());
  if (!ring.ok()) return 0;
  EXPECT(ring.value.lanes() == fuzz::kLanes && ring.value.lane_capacity() == fuzz::kCapacity);
  fuzz::drive(input, client, ring.value);
  return 0;
}
