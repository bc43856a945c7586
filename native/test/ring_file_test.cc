// Every check that docs/ring.md asks of a ring's descriptor and of its records, each against a real
// memfd that breaks it, and the reader against writers that race it.
#include "scope/ring_file.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "ring_writer.h"

namespace lezea {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kNow = 1'000'000'000;
constexpr uint32_t kDevices = 2;

std::string refusal_of(UniqueFd fd) {
  std::string why = "accepted";
  if (!RingFile::adopt(std::move(fd), &why).ok()) return why;
  return "accepted";
}

RingFile adopted(const RingWriter& writer) {
  std::string why;
  Result<RingFile> ring = RingFile::adopt(writer.duplicate(), &why);
  CHECK_EQ(why, std::string());
  CHECK(ring.ok());
  return std::move(ring.value);
}

struct Drained {
  std::vector<TakenRecord> records;
  RingLosses losses;
};

Drained take(RingFile& ring, uint64_t now_ns = kNow) {
  Drained drained;
  ring.take(drained.records, drained.losses, kDevices, now_ns);
  return drained;
}

// These tests write from the reading thread, so that no time needs to pass between the two steps.
Drained drain(RingFile& ring, uint64_t now_ns = kNow) {
  ring.note_heads();
  return take(ring, now_ns);
}

RingRecord switch_at(uint64_t t_mono_ns) {
  RingRecord record{};
  record.t_mono_ns = t_mono_ns;
  return record;
}

}  // namespace

TEST("adopts what an honest client offers") {
  RingWriter writer(LEZEA_RING_DEFAULT_LANES, LEZEA_RING_DEFAULT_LANE_CAPACITY);
  RingFile ring = adopted(writer);
  struct stat file{};
  CHECK_EQ(::fstat(writer.fd(), &file), 0);
  CHECK_EQ(ring.inode(), uint64_t{file.st_ino});
  CHECK_EQ(ring.lanes(), 64u);
  CHECK_EQ(ring.lane_capacity(), 16384u);
  CHECK_EQ(file.st_size, off_t{8192 + 32 * 1024 * 1024});
  CHECK(!ring.pending());
  CHECK(!ring.voided());
}

TEST("adopts the smallest and the largest shape") {
  RingWriter smallest(LEZEA_RING_MIN_LANES, LEZEA_RING_MIN_LANE_CAPACITY);
  CHECK_EQ(refusal_of(smallest.duplicate()), std::string("accepted"));
  RingWriter largest(LEZEA_RING_MAX_LANES, LEZEA_RING_MAX_LANE_CAPACITY);
  CHECK_EQ(refusal_of(largest.duplicate()), std::string("accepted"));
}

TEST("refuses each missing seal") {
  struct Case {
    unsigned seals;
    const char* why;
  };
  const Case cases[] = {
      {0, "seal_shrink_missing"},
      {F_SEAL_GROW | F_SEAL_SEAL, "seal_shrink_missing"},
      {F_SEAL_SHRINK | F_SEAL_SEAL, "seal_grow_missing"},
      {F_SEAL_SHRINK | F_SEAL_GROW, "seal_seal_missing"},
      {kRingSeals, "accepted"},
      {kRingSeals | F_SEAL_FUTURE_WRITE, "accepted"},
  };
  for (const Case& c : cases) {
    RingWriter writer(1, 256, c.seals);
    CHECK_EQ(refusal_of(writer.duplicate()), std::string(c.why));
  }
}

TEST("refuses what cannot be sealed") {
  int pipe_ends[2];
  int sockets[2];
  CHECK_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  CHECK_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  UniqueFd pipe_writer(pipe_ends[1]);
  UniqueFd other_socket(sockets[1]);
  CHECK_EQ(refusal_of(UniqueFd(pipe_ends[0])), std::string("not_sealable"));
  CHECK_EQ(refusal_of(UniqueFd(sockets[0])), std::string("not_sealable"));
  CHECK_EQ(refusal_of(UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC))),
           std::string("not_sealable"));
  CHECK_EQ(refusal_of(UniqueFd(::open("/proc/self/stat", O_RDONLY | O_CLOEXEC))),
           std::string("not_sealable"));
  CHECK_EQ(refusal_of(UniqueFd()), std::string("not_sealable"));

  RingWriter writer;
  std::string link = "/proc/self/fd/" + std::to_string(writer.fd());
  CHECK_EQ(refusal_of(UniqueFd(::open(link.c_str(), O_PATH | O_CLOEXEC))),
           std::string("not_sealable"));
}

// A file with a name in it has the right bytes and the right size, and can be truncated any time.
TEST("refuses files with a name") {
  RingWriter writer(1, 256);
  for (const char* folder : {"/tmp", "/var/tmp", "/dev/shm"}) {
    std::string path = std::string(folder) + "/lezea-ring-XXXXXX";
    UniqueFd file(::mkostemp(path.data(), O_CLOEXEC));
    CHECK(file.valid());
    ::unlink(path.c_str());
    CHECK_EQ(::ftruncate(file.get(), static_cast<off_t>(lezea_ring_file_bytes(1, 256))), 0);
    RingHeader header = writer.good_header();
    CHECK_EQ(::pwrite(file.get(), &header, sizeof header, 0), ssize_t{sizeof header});
    // A named tmpfs file may be asked for its seals: it carries F_SEAL_SEAL alone.
    bool sealable = ::fcntl(file.get(), F_GET_SEALS) >= 0;
    CHECK_EQ(refusal_of(std::move(file)),
             std::string(sealable ? "seal_shrink_missing" : "not_sealable"));
  }
}

// 447 lanes of 1024 records are exactly seven huge pages: only the file system tells.
TEST("refuses hugetlb") {
  UniqueFd fd(::memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
  if (!fd) SKIP("this kernel makes no hugetlb memfd: there is none to refuse");
  CHECK_EQ(lezea_ring_file_bytes(447, 1024) % (2u << 20), uint64_t{0});
  CHECK_EQ(::ftruncate(fd.get(), static_cast<off_t>(lezea_ring_file_bytes(447, 1024))), 0);
  CHECK_EQ(::fcntl(fd.get(), F_ADD_SEALS, kRingSeals), 0);
  CHECK_EQ(refusal_of(std::move(fd)), std::string("hugetlb"));
}

TEST("refuses wrong sizes") {
  RingWriter record_more(2, 256, kRingSeals, 32);
  CHECK_EQ(refusal_of(record_more.duplicate()), std::string("wrong_size"));
  RingWriter byte_less(2, 256, kRingSeals, -1);
  CHECK_EQ(refusal_of(byte_less.duplicate()), std::string("wrong_size"));
  RingWriter page_more(1, 256, kRingSeals, 4096);
  CHECK_EQ(refusal_of(page_more.duplicate()), std::string("wrong_size"));
  RingWriter too_small(1, 256, kRingSeals, -1);
  CHECK_EQ(refusal_of(too_small.duplicate()), std::string("too_small"));
  RingWriter too_large(LEZEA_RING_MAX_LANES, LEZEA_RING_MAX_LANE_CAPACITY, kRingSeals, 1);
  CHECK_EQ(refusal_of(too_large.duplicate()), std::string("too_large"));
}

TEST("refuses a header that lies") {
  struct Case {
    const char* why;
    std::function<void(RingHeader*)> spoil;
  };
  const std::vector<Case> cases = {
      {"bad_magic", [](RingHeader* h) { h->magic[7] = '2'; }},
      {"bad_magic", [](RingHeader* h) { std::memset(h, 0, sizeof *h); }},
      {"bad_version", [](RingHeader* h) { h->version = 0; }},
      {"bad_version", [](RingHeader* h) { h->version = 2; }},
      {"bad_record_size", [](RingHeader* h) { h->record_size = 64; }},
      {"bad_lanes", [](RingHeader* h) { h->lanes = 0; }},
      {"bad_lanes", [](RingHeader* h) { h->lanes = 1025; }},
      {"bad_lanes", [](RingHeader* h) { h->lanes = UINT32_MAX; }},
      {"bad_lane_capacity", [](RingHeader* h) { h->lane_capacity = 0; }},
      {"bad_lane_capacity", [](RingHeader* h) { h->lane_capacity = 128; }},
      {"bad_lane_capacity", [](RingHeader* h) { h->lane_capacity = 257; }},
      {"bad_lane_capacity", [](RingHeader* h) { h->lane_capacity = 131072; }},
      {"bad_records_offset", [](RingHeader* h) { h->records_offset += 4096; }},
      {"bad_records_offset", [](RingHeader* h) { h->records_offset = 4096; }},
      {"bad_records_offset", [](RingHeader* h) { h->records_offset = 0; }},
      {"wrong_size", [](RingHeader* h) { h->lane_capacity = 512; }},
      {"wrong_size", [](RingHeader* h) { h->lanes = 3; }},
  };
  for (const Case& c : cases) {
    RingWriter writer(2, 256);
    c.spoil(writer.header());
    CHECK_EQ(refusal_of(writer.duplicate()), std::string(c.why));
  }
}

TEST("refuses what it may not read and heads nobody published") {
  RingWriter writer;
  std::string link = "/proc/self/fd/" + std::to_string(writer.fd());
  CHECK_EQ(refusal_of(UniqueFd(::open(link.c_str(), O_WRONLY | O_CLOEXEC))),
           std::string("unreadable"));
  writer.set_head(3, (uint64_t{1} << 48) + 1);
  CHECK_EQ(refusal_of(writer.duplicate()), std::string("bad_head"));
}

TEST("reads its header once") {
  RingWriter writer(2, 256);
  RingFile ring = adopted(writer);
  std::memset(writer.header(), 0xff, sizeof(RingHeader));
  writer.put_numbered(1, 3);
  CHECK_EQ(drain(ring).records.size(), size_t{3});
}

TEST("takes each record once and only up to the noted head") {
  RingWriter writer(4, 256);
  RingFile ring = adopted(writer);
  CHECK_EQ(drain(ring).records.size(), size_t{0});
  writer.put_numbered(1, 3);
  writer.put_numbered(3, 2);
  ring.note_heads();
  CHECK(ring.pending());
  CHECK_EQ(ring.new_records_at_last_note(), uint64_t{5});
  CHECK_EQ(ring.fullest_lane_at_last_note(), uint64_t{3});
  writer.put_numbered(1, 4);

  Drained first = take(ring);
  CHECK(!ring.pending());
  CHECK_EQ(first.records.size(), size_t{5});
  const std::pair<uint32_t, uint64_t> want[] = {{1, 0}, {1, 1}, {1, 2}, {3, 0}, {3, 1}};
  for (size_t i = 0; i < 5; i++) {
    CHECK_EQ(first.records[i].lane, want[i].first);
    CHECK_EQ(first.records[i].n, want[i].second);
    CHECK_EQ(first.records[i].record.value, want[i].second);
  }
  CHECK_EQ(take(ring).records.size(), size_t{0});

  Drained second = drain(ring);
  CHECK_EQ(second.records.size(), size_t{4});
  CHECK_EQ(second.records[0].n, uint64_t{3});
  CHECK_EQ(second.records[3].n, uint64_t{6});
  CHECK_EQ(second.losses.lost + second.losses.forged, uint64_t{0});
}

TEST("appends and adds to what it is given") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  Drained drained;
  for (uint64_t round = 1; round <= 3; round++) {
    writer.put_numbered(0, 2);
    writer.put(0, switch_at(0));
    ring.note_heads();
    ring.take(drained.records, drained.losses, kDevices, kNow);
    CHECK_EQ(drained.records.size(), size_t{2 * round});
    CHECK_EQ(drained.losses.forged, round);
  }
}

TEST("finds records in any lane") {
  RingWriter writer(LEZEA_RING_MAX_LANES, 256);
  RingFile ring = adopted(writer);
  for (uint32_t lane : {0u, 63u, 64u, 511u, 1023u}) {
    writer.put_numbered(lane);
    Drained drained = drain(ring);
    CHECK_EQ(drained.records.size(), size_t{1});
    CHECK_EQ(drained.records[0].lane, lane);
    CHECK_EQ(drained.records[0].record.scope, lane + 1);
  }
}

TEST("keeps every field of a record") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  RingRecord sent{7, 8, 9, 10, LEZEA_RING_KIND_GPU, 1, LEZEA_RING_FLAG_ACTIVATION, 0};
  writer.put(2, sent);
  Drained drained = drain(ring);
  CHECK_EQ(drained.records.size(), size_t{1});
  sent.seq = 1;
  CHECK_EQ(std::memcmp(&drained.records[0].record, &sent, sizeof sent), 0);
}

TEST("ignores a head that runs backwards until it has passed its old value") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  writer.put_numbered(0, 10);
  CHECK_EQ(drain(ring).records.size(), size_t{10});
  for (uint64_t head : {0, 3, 9, 10}) {
    writer.set_head(0, head);
    Drained drained = drain(ring);
    CHECK_EQ(drained.records.size(), size_t{0});
    CHECK_EQ(drained.losses.lost, uint64_t{0});
    CHECK(!ring.voided());
  }
  writer.put_numbered(0, 2);
  Drained drained = drain(ring);
  CHECK_EQ(drained.records.size(), size_t{2});
  CHECK_EQ(drained.records[0].n, uint64_t{10});
}

// A signal handler's record is published before the one it interrupted: 2 is seen, then 1.
TEST("remembers a head seen before it ran backwards") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  writer.put_numbered(0, 1);
  ring.note_heads();
  writer.put_numbered(0, 2);
  CHECK_EQ(take(ring).records.size(), size_t{1});  // which also sees the head at 3
  writer.set_head(0, 2);
  CHECK_EQ(drain(ring).records.size(), size_t{2});
}

TEST("is voided by a head that jumps") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  writer.put_numbered(1, 5);
  writer.set_head(0, LEZEA_RING_MAX_HEAD_JUMP);  // as far as a head may move
  ring.note_heads();
  CHECK(!ring.voided());
  take(ring);
  writer.set_head(0, 2 * LEZEA_RING_MAX_HEAD_JUMP + 1);
  ring.note_heads();
  CHECK(ring.voided());
  CHECK(!ring.pending());
  writer.put_numbered(1, 5);
  CHECK_EQ(drain(ring).records.size(), size_t{0});
}

TEST("is voided by a jump after the heads were noted") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  writer.put_numbered(0, 5);
  ring.note_heads();
  writer.set_head(0, LEZEA_RING_MAX_HEAD_JUMP + 6);
  Drained drained = take(ring);
  CHECK(ring.voided());
  CHECK_EQ(drained.records.size(), size_t{0});
  CHECK_EQ(drained.losses.lost, uint64_t{5});
}

TEST("measures jumps from the heads it was adopted with") {
  RingWriter writer(1, 256);
  // Twelve days of a million records a second, then the agent loses its state.
  constexpr uint64_t kLived = (uint64_t{1} << 40) + 1000;
  writer.set_head(0, kLived);
  RingFile ring = adopted(writer);
  writer.put_numbered(0, 2);
  Drained drained = drain(ring);
  CHECK(!ring.voided());
  CHECK_EQ(drained.records.size(), size_t{2});
  CHECK_EQ(drained.losses.lost, kLived);
}

TEST("drops and counts forged records") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  auto put = [&](uint64_t t, uint8_t kind, uint8_t device) {
    RingRecord record = switch_at(t);
    record.kind = kind;
    record.device = device;
    writer.put(0, record);
  };
  put(0, 0, 0);                 // no time
  put(kNow + kMs + 1, 0, 0);    // the future
  put(UINT64_MAX, 0, 0);        // a wrapped one
  put(1, LEZEA_RING_KINDS, 0);  // unknown kinds
  put(1, 255, 0);
  put(1, LEZEA_RING_KIND_GPU, kDevices);  // no such device
  put(1, LEZEA_RING_KIND_GPU, 255);
  put(kNow + kMs, 0, 0);  // from here on all is well
  put(1, LEZEA_RING_KIND_GPU, kDevices - 1);
  put(1, LEZEA_RING_KIND_SWITCH, 255);  // device means nothing here
  put(1, LEZEA_RING_KIND_IO_READ, 9);
  put(1, LEZEA_RING_KIND_IO_WRITTEN, 9);
  Drained drained = drain(ring);
  CHECK_EQ(drained.losses.forged, uint64_t{7});
  CHECK_EQ(drained.losses.lost, uint64_t{0});
  CHECK_EQ(drained.records.size(), size_t{5});
  CHECK_EQ(drained.records[0].n, uint64_t{7});
  CHECK(drained.losses.overrun_lanes.empty());
}

TEST("takes no gpu time from a session without devices") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  RingRecord record = switch_at(1);
  record.kind = LEZEA_RING_KIND_GPU;
  writer.put(0, record);
  Drained drained;
  ring.note_heads();
  ring.take(drained.records, drained.losses, 0, kNow);
  CHECK_EQ(drained.losses.forged, uint64_t{1});
}

TEST("counts a record with another seq as lost") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  writer.put_numbered(0, 5);
  writer.record(0, 2)->seq = 2;
  writer.record(0, 3)->seq = 0;
  Drained drained = drain(ring);
  CHECK_EQ(drained.losses.lost, uint64_t{2});
  CHECK_EQ(drained.records.size(), size_t{3});
  CHECK_EQ(drained.records[2].n, uint64_t{4});
  CHECK(drained.losses.overrun_lanes.empty());
}

TEST("knows a seq past 32 bits") {
  RingWriter writer(1, 256);
  writer.set_head(0, (uint64_t{1} << 32) - 2);
  RingFile ring = adopted(writer);
  ring.set_positions({(uint64_t{1} << 32) - 2});
  writer.put_numbered(0, 4);
  Drained drained = drain(ring);
  CHECK_EQ(drained.losses.lost, uint64_t{0});
  CHECK_EQ(drained.records.size(), size_t{4});
  CHECK_EQ(drained.records[1].record.seq, 0u);
  CHECK_EQ(drained.records[3].n, (uint64_t{1} << 32) + 1);
}

// Claimed, half written, killed: the head still says that the record does not exist.
TEST("never sees the record of a writer killed in the middle") {
  RingWriter writer;
  RingFile ring = adopted(writer);
  int ready[2];
  CHECK_EQ(::pipe2(ready, O_CLOEXEC), 0);
  pid_t child = ::fork();
  if (child == 0) {
    writer.put_numbered(0, 3);
    writer.record(0, 3)->t_mono_ns = 1;
    writer.record(0, 3)->scope = 77;
    (void)!::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  char byte;
  CHECK_EQ(::read(ready[0], &byte, 1), ssize_t{1});
  ::close(ready[0]);
  ::close(ready[1]);
  ::kill(child, SIGKILL);
  CHECK_EQ(::waitpid(child, nullptr, 0), child);
  Drained drained = drain(ring);
  CHECK_EQ(drained.records.size(), size_t{3});
  CHECK_EQ(drained.losses.lost, uint64_t{0});
  // The lane's next thread writes over it.
  writer.put_numbered(0);
  drained = drain(ring);
  CHECK_EQ(drained.records.size(), size_t{1});
  CHECK_EQ(drained.records[0].record.scope, 1u);
}

TEST("counts what a writer that laps it overwrote") {
  RingWriter writer(3, 256);
  RingFile ring = adopted(writer);
  writer.put_numbered(0, 2);
  writer.put_numbered(1, 1000);
  writer.put_numbered(2, 255);
  Drained drained = drain(ring);
  // Slot n mod 256 of the oldest may be in the middle of being overwritten: 255 can be kept.
  CHECK_EQ(drained.records.size(), size_t{2 + 255 + 255});
  CHECK_EQ(drained.losses.lost, uint64_t{1000 - 255});
  CHECK_EQ(drained.losses.overrun_lanes.size(), size_t{1});
  CHECK_EQ(drained.losses.overrun_lanes[0], 1u);
  CHECK_EQ(drained.records[2].n, uint64_t{1000 - 255});
  CHECK_EQ(drained.records[2 + 254].n, uint64_t{999});
}

TEST("drops what was overwritten after the heads were noted") {
  RingWriter writer(2, 256);
  RingFile ring = adopted(writer);
  writer.put_numbered(0, 200);
  ring.note_heads();
  writer.put_numbered(0, 156);  // head 356: only n > 100 survives
  Drained drained = take(ring);
  CHECK_EQ(drained.losses.lost, uint64_t{101});
  CHECK_EQ(drained.records.size(), size_t{99});
  CHECK_EQ(drained.records[0].n, uint64_t{101});
  CHECK_EQ(drained.losses.overrun_lanes.size(), size_t{1});
  drained = drain(ring);
  CHECK_EQ(drained.records.size(), size_t{156});
  CHECK(drained.losses.overrun_lanes.empty());
}

TEST("survives pages punched out of it") {
  RingWriter writer(1, 256);
  RingFile ring = adopted(writer);
  writer.put_numbered(0, 200);
  auto punch = [&](uint64_t offset) {
    CHECK_EQ(::fallocate(writer.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         static_cast<off_t>(offset), 4096),
             0);
  };
  punch(lezea_ring_record_offset(1, 256, 0, 0));  // records 0..127
  Drained drained = drain(ring);
  CHECK_EQ(drained.losses.lost, uint64_t{128});
  CHECK_EQ(drained.records.size(), size_t{72});
  punch(LEZEA_RING_LANE_TABLE_OFFSET);  // all heads 0
  punch(0);                             // no header
  CHECK_EQ(drain(ring).records.size(), size_t{0});
  CHECK(!ring.voided());
  writer.set_head(0, 200);
  writer.put_numbered(0, 1);
  CHECK_EQ(drain(ring).records.size(), size_t{1});
}

TEST("bounds one take by the newest of every lane") {
  constexpr uint32_t kLanes = 1024;
  RingWriter writer(kLanes, 2048);
  RingFile ring = adopted(writer);
  // Heads without records: the cheapest way to make a reader work.
  for (uint32_t lane = 0; lane < kLanes; lane++) writer.set_head(lane, 2000);
  writer.set_head(5, 0);
  writer.put_numbered(5, 2000);
  Drained drained = drain(ring);
  uint64_t share = RingFile::kMaxRecordsPerTake / kLanes;
  CHECK_EQ(drained.records.size(), size_t{share});
  CHECK_EQ(drained.records[0].lane, 5u);
  CHECK_EQ(drained.records[0].n, 2000 - share);
  CHECK_EQ(drained.losses.lost, uint64_t{2000} * kLanes - share);
  CHECK_EQ(drained.losses.overrun_lanes.size(), size_t{kLanes});
  CHECK(!ring.pending());
}

TEST("goes on from positions") {
  RingWriter writer(3, 256);
  std::vector<uint64_t> checkpoint;
  {
    RingFile before = adopted(writer);
    writer.put_numbered(0, 10);
    writer.put_numbered(1, 20);
    CHECK_EQ(drain(before).records.size(), size_t{30});
    checkpoint = before.positions();
  }
  writer.put_numbered(0, 1);
  writer.put_numbered(2, 2);
  RingFile after = adopted(writer);
  after.set_positions(checkpoint);
  Drained drained = drain(after);
  CHECK_EQ(drained.records.size(), size_t{3});
  CHECK_EQ(drained.records[0].lane, 0u);
  CHECK_EQ(drained.records[0].n, uint64_t{10});
  CHECK_EQ(drained.records[1].lane, 2u);
  CHECK_EQ(drained.records[2].n, uint64_t{1});
  CHECK(after.positions() == (std::vector<uint64_t>{11, 20, 2}));
}

TEST("bears positions that do not fit") {
  RingWriter writer(2, 256);
  writer.put_numbered(0, 4);
  writer.put_numbered(1, 4);
  RingFile ring = adopted(writer);
  ring.set_positions({6, 1, 99, 99});
  CHECK_EQ(drain(ring).records.size(), size_t{3});  // lane 1 only
  writer.put_numbered(0, 2);
  CHECK_EQ(drain(ring).records.size(), size_t{0});
  writer.put_numbered(0, 1);
  Drained drained = drain(ring);
  CHECK_EQ(drained.records.size(), size_t{1});
  CHECK_EQ(drained.records[0].n, uint64_t{6});
  ring.set_positions({7});
  CHECK_EQ(drain(ring).records.size(), size_t{4});  // lane 1 again from 0
}

TEST("without lanes answers nothing") {
  RingFile ring;
  ring.set_positions({1, 2});
  CHECK_EQ(drain(ring).records.size(), size_t{0});
  CHECK_EQ(ring.lanes(), 0u);
  CHECK(ring.positions().empty());
}

namespace {

// Writes `total` numbered records into a lane, staying less than `half_lap` ahead of what the
// reader has taken if it is told that.
void write_all(RingWriter& writer, uint32_t lane, uint64_t total, uint64_t half_lap,
               const std::atomic<uint64_t>* taken) {
  for (uint64_t n = 0; n < total; n++) {
    while (taken && n - taken->load(std::memory_order_relaxed) >= half_lap) {
      std::this_thread::yield();
    }
    writer.put_numbered(lane);
  }
}

// Drains by the real protocol until `done` was true before a drain that found nothing. Checks that
// every record comes in order, at most once and unchanged.
struct LaneTally {
  uint64_t next = 0;
  uint64_t taken = 0;
};

RingLosses drain_all(RingFile& ring, std::vector<LaneTally>& lanes, const std::atomic<int>& writing,
                     std::atomic<uint64_t>* taken) {
  SystemClock clock;
  RingLosses losses;
  std::vector<TakenRecord> records;
  uint64_t wrong = 0;
  for (bool last = false; !last;) {
    last = writing.load() == 0;
    ring.note_heads();
    clock.sleep_ns(kMs);
    records.clear();
    ring.take(records, losses, kDevices, clock.monotonic_ns());
    for (const TakenRecord& r : records) {
      LaneTally& tally = lanes[r.lane];
      if (r.n < tally.next || r.record.value != r.n || r.record.scope != r.lane + 1) wrong++;
      tally.next = r.n + 1;
      tally.taken++;
      if (taken) taken->store(tally.next, std::memory_order_relaxed);
    }
    if (ring.new_records_at_last_note() > 0) last = false;
  }
  CHECK_EQ(wrong, uint64_t{0});
  CHECK_EQ(losses.forged, uint64_t{0});
  return losses;
}

}  // namespace

TEST("reads behind a writer that waits for it without a loss") {
  constexpr uint64_t kTotal = 400'000;
  RingWriter writer(1, 16384);
  RingFile ring = adopted(writer);
  std::atomic<int> writing{1};
  std::atomic<uint64_t> taken{0};
  std::thread thread([&] {
    write_all(writer, 0, kTotal, 8192, &taken);
    writing--;
  });
  std::vector<LaneTally> lanes(1);
  RingLosses losses = drain_all(ring, lanes, writing, &taken);
  thread.join();
  CHECK_EQ(lanes[0].taken, kTotal);
  CHECK_EQ(losses.lost, uint64_t{0});
  CHECK(losses.overrun_lanes.empty());
}

TEST("accounts for every record of writers at full speed") {
  constexpr uint64_t kTotal = 1'000'000;
  constexpr uint32_t kLanes = 2;
  RingWriter writer(kLanes, 256);
  RingFile ring = adopted(writer);
  std::atomic<int> writing{kLanes};
  std::vector<std::thread> threads;
  for (uint32_t lane = 0; lane < kLanes; lane++) {
    threads.emplace_back([&, lane] {
      write_all(writer, lane, kTotal, 0, nullptr);
      writing--;
    });
  }
  std::vector<LaneTally> lanes(kLanes);
  RingLosses losses = drain_all(ring, lanes, writing, nullptr);
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(lanes[0].next, kTotal);  // the last record is never lost
  CHECK_EQ(lanes[1].next, kTotal);
  CHECK_EQ(lanes[0].taken + lanes[1].taken + losses.lost, kLanes * kTotal);
  CHECK(losses.lost > 0);
}

}  // namespace lezea
