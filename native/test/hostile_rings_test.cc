// Every bad offer and every lie in a ring, from a process of another run, to a sampler that works for an
// honest one: refused or dropped, counted, and nothing of the honest run is touched.
#include <linux/memfd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <functional>
#include <map>

#include "hostile_client.h"
#include "live_sampler.h"
#include "procfs/pid_list.h"
#include "ring_writer.h"

namespace lezea::test {
namespace {

constexpr uint32_t kHonest = 1;
constexpr uint32_t kHostile = 2;
constexpr uint32_t kClosed = 3;
constexpr uid_t kNobody = 65534;

// Run 1 is this process's, run 2 that of a hostile child; a third run of it has been closed.
struct Agent {
  Agent() {
    const std::string socket = live.folder.socket();
    CHECK_EQ(::chmod(socket.substr(0, socket.rfind('/')).c_str(), 0711), 0);  // for nobody
    live.open_run(kHonest);
    live.open_run(kHostile, hostile.pid());
    live.sampler->post_bind(BindCommand{kClosed, hostile.pid(), 0, kHostile, 0, 0, 0},
                            token_of(kClosed));
    live.sampler->close_session(kClosed);
    live.start();
    CHECK_EQ(live.offer_ring(kHonest, honest_ring.fd()), kAccepted);
  }

  Snapshot look() {
    Snapshot now = live.sampler->pull(true).get();
    for (const RunState& run : now.engine.runs) {
      CHECK_EQ(run.residual_columns, 0);
      activations[run.run] = static_cast<uint64_t>(run.totals.value[kActivations]);
      lost[run.run] = run.lost_events;
    }
    return now;
  }

  // Every one of the honest ring's activations arrives, whatever else goes on.
  void check_honest_run() {
    RingRecord record{};
    record.t_mono_ns = SystemClock().monotonic_ns();
    record.scope = 1;
    record.tid = static_cast<uint32_t>(::getpid());
    record.flags = LEZEA_RING_FLAG_ACTIVATION;
    honest_ring.put(0, record);
    ++honest_records;
    CHECK(eventually([&] {
      look();
      return activations[kHonest] >= honest_records;
    }));
    CHECK_EQ(activations[kHonest], honest_records);
    CHECK_EQ(lost[kHonest], 0);
  }

  LiveSampler live;
  HostileClient hostile{live.folder.socket()};
  HostileClient nobody{live.folder.socket(), kNobody};
  RingWriter honest_ring;
  uint64_t honest_records = 0;
  std::map<uint32_t, uint64_t> activations;  // by run, as last seen
  std::map<uint32_t, uint64_t> lost;
};

UniqueFd sealed_memfd(unsigned flags, uint64_t bytes) {
  UniqueFd fd(::memfd_create("lezea-hostile", MFD_CLOEXEC | flags));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return UniqueFd();
  if (flags & MFD_ALLOW_SEALING) ::fcntl(fd.get(), F_ADD_SEALS, kRingSeals);
  return fd;
}

UniqueFd unnamed_file(const std::string& folder) {
  return UniqueFd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

// A good ring that cannot be written any more, by anybody.
UniqueFd write_sealed() {
  const RingHeader header = RingWriter(1, 256).good_header();
  UniqueFd fd(::memfd_create("lezea-hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  CHECK_EQ(::ftruncate(fd.get(), static_cast<off_t>(lezea_ring_file_bytes(1, 256))), 0);
  CHECK_EQ(::pwrite(fd.get(), &header, sizeof header, 0), sizeof header);
  CHECK_EQ(::fcntl(fd.get(), F_ADD_SEALS, kRingSeals | F_SEAL_WRITE), 0);
  return fd;
}

struct Descriptor {
  const char* why;
  UniqueFd fd;
};

UniqueFd spoiled(const std::function<void(RingHeader*)>& spoil) {
  RingWriter writer(2, 256);
  spoil(writer.header());
  return writer.duplicate();
}

std::vector<Descriptor> bad_rings() {
  std::vector<Descriptor> bad;
  const auto lying = [&bad](const char* why, const std::function<void(RingHeader*)>& spoil) {
    bad.push_back({why, spoiled(spoil)});
  };
  lying("bad_magic", [](RingHeader* h) { h->magic[0] = 'l'; });
  lying("bad_version", [](RingHeader* h) { h->version = 2; });
  lying("bad_record_size", [](RingHeader* h) { h->record_size = 16; });
  lying("bad_lanes", [](RingHeader* h) { h->lanes = 0; });
  lying("bad_lanes", [](RingHeader* h) { h->lanes = 1025; });
  lying("bad_lane_capacity", [](RingHeader* h) { h->lane_capacity = 257; });
  lying("bad_lane_capacity", [](RingHeader* h) { h->lane_capacity = 128; });
  lying("bad_lane_capacity", [](RingHeader* h) { h->lane_capacity = 1 << 17; });
  lying("bad_records_offset", [](RingHeader* h) { h->records_offset += 32; });
  lying("wrong_size", [](RingHeader* h) { h->lanes = 1; });
  bad.push_back({"seal_shrink_missing", RingWriter(1, 256, F_SEAL_GROW | F_SEAL_SEAL).duplicate()});
  bad.push_back({"seal_grow_missing", RingWriter(1, 256, F_SEAL_SHRINK | F_SEAL_SEAL).duplicate()});
  bad.push_back({"seal_seal_missing", RingWriter(1, 256, F_SEAL_SHRINK | F_SEAL_GROW).duplicate()});
  bad.push_back({"seal_shrink_missing", sealed_memfd(0, lezea_ring_file_bytes(1, 256))});
  bad.push_back({"too_small", RingWriter(1, 256, kRingSeals, -1).duplicate()});
  bad.push_back({"too_small", sealed_memfd(MFD_ALLOW_SEALING, 0)});
  bad.push_back({"wrong_size", RingWriter(2, 256, kRingSeals, 32).duplicate()});
  bad.push_back({"too_large", sealed_memfd(MFD_ALLOW_SEALING, uint64_t{4} << 40)});
  bad.push_back({"bad_magic", sealed_memfd(MFD_ALLOW_SEALING, uint64_t{1} << 30)});
  return bad;
}

// Nothing that a client has any business to send.
std::vector<Descriptor> no_rings() {
  std::vector<Descriptor> bad;
  const auto opened = [&bad](const char* path, int flags) {
    bad.push_back({"not_sealable", UniqueFd(::open(path, flags | O_CLOEXEC))});
  };
  int fifo[2];
  CHECK_EQ(::pipe2(fifo, O_CLOEXEC), 0);
  const UniqueFd writing_end(fifo[1]);
  bad.push_back({"not_sealable", UniqueFd(fifo[0])});
  opened("/dev/zero", O_RDWR);
  opened("/dev/null", O_RDWR);
  opened("/tmp", O_RDONLY | O_DIRECTORY);
  opened("/proc/self/stat", O_RDONLY);
  opened("/dev/shm", O_PATH);
  bad.push_back({"not_sealable", UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))});
  bad.push_back({"not_sealable", UniqueFd(::epoll_create1(EPOLL_CLOEXEC))});
  bad.push_back({"not_sealable", UniqueFd(::eventfd(0, EFD_CLOEXEC))});
  bad.push_back({"not_sealable", UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC))});
  bad.push_back(
      {"not_sealable", UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)))});
  // Named tmpfs files have seals, and cannot be given more.
  for (const char* folder : {"/var/tmp", "/dev/shm"}) {
    UniqueFd file = unnamed_file(folder);
    const bool sealable = file && ::fcntl(file.get(), F_GET_SEALS) >= 0;
    if (file) bad.push_back({sealable ? "seal_shrink_missing" : "not_sealable", std::move(file)});
  }
  return bad;
}

}  // namespace

TEST("refuses every descriptor that is no ring, by its reason, and the honest run goes on") {
  Agent agent;
  uint64_t refusals = 0;
  for (auto* make : {bad_rings, no_rings}) {
    for (const Descriptor& bad : make()) {
      REQUIRE(bad.fd.valid());
      CHECK_EQ(agent.hostile.offer(offer_of(token_of(kHostile)), {bad.fd.get()}), refused(bad.why));
      ++refusals;
    }
  }
  agent.check_honest_run();
  const Snapshot after = agent.look();
  CHECK_EQ(after.refused_rings, refusals);
  CHECK_EQ(after.accepted_rings, 1);
}

TEST("refuses every message that is no offer, and every token that is not the sender's") {
  Agent agent;
  const RingWriter ring;
  const int good = ring.fd();
  const std::string offer = offer_of(token_of(kHostile));
  struct Case {
    const char* why;
    std::string text;
    std::vector<int> fds;
  };
  const Case cases[] = {
      {"no_descriptor", offer, {}},
      {"too_many_descriptors", offer, {good, good}},
      {"control_truncated", offer, std::vector<int>(200, good)},
      {"too_large", offer + std::string(4000, ' '), {good}},
      {"malformed", "session=" + token_of(kHostile), {good}},
      {"malformed", "{\"session\":\"\xff\xfe" + token_of(kHostile).substr(2) + "\"}", {good}},
      {"malformed", "{\"session\":\"\xf0\x9f\x98\"}", {good}},
      {"no_message", "", {good}},
      {"unknown_session", offer_of(std::string(32, 'e')), {good}},
      {"unknown_session", offer_of(token_of(kClosed)), {good}},
      {"not_session_process", offer_of(token_of(kHonest)), {good}},
  };
  uint64_t refusals = 0;
  for (const Case& c : cases) {
    CHECK_EQ(agent.hostile.offer(c.text, c.fds), refused(c.why));
    ++refusals;
  }
  CHECK_EQ(agent.nobody.offer(offer, {good}), refused("not_session_process"));
  agent.check_honest_run();
  CHECK_EQ(agent.look().refused_rings, refusals + 1);
  CHECK_EQ(agent.hostile.offer(offer, {good}), kAccepted);
}

TEST("takes rings that can be written no more, and lets nobody offer too many") {
  Agent agent;
  const std::string offer = offer_of(token_of(kHostile));
  CHECK_EQ(agent.hostile.offer(offer, {write_sealed().get()}), kAccepted);
  const RingWriter future(1, 256, kRingSeals | F_SEAL_FUTURE_WRITE);
  CHECK_EQ(agent.hostile.offer(offer, {future.fd()}), kAccepted);
  for (uint32_t i = 2; i < RingAcceptor::kMaxRingsPerSession; ++i) {
    CHECK_EQ(agent.hostile.offer(offer, {RingWriter(1, 256).fd()}), kAccepted);
  }
  CHECK_EQ(agent.hostile.offer(offer, {RingWriter(1, 256).fd()}), refused("too_many_rings"));
  agent.check_honest_run();
}

TEST("refuses a hugetlb memfd") {
  const UniqueFd huge =
      sealed_memfd(MFD_ALLOW_SEALING | MFD_HUGETLB, lezea_ring_file_bytes(447, 1024));
  if (!huge) SKIP("this kernel makes no hugetlb memfd: there is none to refuse");
  Agent agent;
  CHECK_EQ(agent.hostile.offer(offer_of(token_of(kHostile)), {huge.get()}), refused("hugetlb"));
  agent.check_honest_run();
}

namespace {

RingRecord activation(uint64_t t_mono_ns, int tid, uint32_t scope) {
  RingRecord record{};
  record.t_mono_ns = t_mono_ns;
  record.scope = scope;
  record.tid = static_cast<uint32_t>(tid);
  record.flags = LEZEA_RING_FLAG_ACTIVATION;
  return record;
}

}  // namespace

TEST("drops and counts what lies in a ring, and gives nothing of it to the honest run") {
  Agent agent;
  RingWriter ring;
  CHECK_EQ(agent.hostile.offer(offer_of(token_of(kHostile)), {ring.fd()}), kAccepted);
  const uint64_t now = SystemClock().monotonic_ns();
  ring.put(0, activation(now + 60'000'000'000, agent.hostile.pid(), 1));  // from the future
  ring.put(0, activation(0, agent.hostile.pid(), 1));                     // from nowhen
  RingRecord unknown = activation(now, agent.hostile.pid(), 1);
  unknown.kind = LEZEA_RING_KINDS;
  ring.put(0, unknown);
  RingRecord gpu = activation(now, agent.hostile.pid(), 1);
  gpu.kind = LEZEA_RING_KIND_GPU;
  gpu.device = 64;  // more than a session may name
  ring.put(0, gpu);
  ring.put(1, activation(now, agent.hostile.pid(), 1));
  ring.record(1, 0)->seq = 77;                  // another record than it says
  ring.set_head(2, 5);                          // published and never written
  ring.put(3, activation(now, ::getpid(), 1));  // of the honest run's thread
  CHECK(eventually([&] {
    const Snapshot seen = agent.look();
    return seen.engine.forged_records >= 4 && seen.engine.lost_records >= 6;
  }));
  agent.check_honest_run();
  CHECK_EQ(agent.look().engine.forged_records, 4);
  CHECK_EQ(agent.look().engine.lost_records, 6);
  CHECK(agent.activations[kHostile] <= 1);
  ring.set_head(3, 0);  // runs back: ignored until it has passed its old value
  ring.put(0, activation(now, agent.hostile.pid(), 1));
  const uint64_t before = agent.activations[kHostile];
  CHECK(eventually([&] {
    agent.look();
    return agent.activations[kHostile] == before + 1;
  }));
  ring.set_head(1, uint64_t{1} << 40);  // a jump: the ring is believed no more
  agent.look();
  ring.put(0, activation(now, agent.hostile.pid(), 1));
  agent.check_honest_run();
  CHECK_EQ(agent.activations[kHostile], before + 1);
}

TEST(
    "thousands of connections at once leave few threads, and an honest offer is taken after them") {
  constexpr size_t kConnections = 3000;
  constexpr size_t kOtherThreads =
      24;  // of this process: the sampler, the tests, a sanitizer's own
  Agent agent;
  rlimit files{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &files) == 0);
  if (files.rlim_cur < kConnections + 1000) SKIP("this machine lets no process open 4000 files");
  std::vector<UniqueFd> flood;
  size_t most_threads = 0;
  const UniqueFd tasks(::open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (size_t i = 0; i < kConnections; ++i) {
    flood.push_back(connect_to(agent.live.folder.socket()));
    CHECK(flood.back().valid());
    if (i % 50 == 0)
      most_threads = std::max(most_threads, list_numeric_entries(tasks.get()).value.size());
  }
  CHECK(most_threads <= RingAcceptor::kMaxConnections + RingAcceptor::kMaxRefusing + kOtherThreads);
  agent.check_honest_run();
  flood.clear();
  const RingWriter ring;
  CHECK(eventually([&] { return agent.live.offer_ring(kHonest, ring.fd()) == kAccepted; }));
  CHECK(agent.look().refused_rings >= kConnections - RingAcceptor::kMaxConnections);
}

}  // namespace lezea::test
