// The ring acceptor when there is too much of something: connections, descriptors that hang, open files.
#include <fcntl.h>
#include <sys/resource.h>

#include <condition_variable>
#include <memory>

#include "ring_acceptor_fixture.h"

namespace lezea {

TEST("refuses connections beyond its limit, and stops under all of them") {
  RingAcceptorOptions options;
  options.silence_ms = 60'000;
  Fixture fixture(options);
  std::vector<UniqueFd> silent;
  for (uint32_t i = 0; i < RingAcceptor::kMaxConnections; i++) {
    silent.push_back(connect_to(fixture.folder.socket()));
    CHECK(silent.back().valid());
  }
  CHECK(eventually(
      [&] { return fixture.acceptor.counters().connections == RingAcceptor::kMaxConnections; }));
  UniqueFd one_more = connect_to(fixture.folder.socket());
  CHECK_EQ(answer_from(one_more.get()), refused("too_many_connections"));
  silent.pop_back();
  RingWriter writer;
  CHECK(eventually([&] { return fixture.offer_ring(writer) == kAccepted; }));
  fixture.acceptor.stop();
  for (UniqueFd& fd : silent) CHECK_EQ(answer_from(fd.get()), refused("stopping"));
  CHECK(eventually([&] { return fixture.idle(); }));
}

namespace {

// A check that hangs, as closing or inspecting a FUSE file can, for descriptors that are pipes.
struct HangingCheck {
  std::mutex mutex;
  std::condition_variable changed;
  uint32_t hanging = 0;
  bool released = false;

  Result<RingFile> operator()(UniqueFd fd, std::string* why) {
    struct stat file{};
    if (::fstat(fd.get(), &file) == 0 && S_ISFIFO(file.st_mode)) {
      std::unique_lock<std::mutex> lock(mutex);
      hanging++;
      changed.wait(lock, [this] { return released; });
      hanging--;
      // What hung may well be a ring after all.
      return RingFile::adopt(RingWriter().duplicate(), why);
    }
    return RingFile::adopt(std::move(fd), why);
  }
  uint32_t count() {
    std::lock_guard<std::mutex> lock(mutex);
    return hanging;
  }
  void release() {
    std::lock_guard<std::mutex> lock(mutex);
    released = true;
    changed.notify_all();
  }
};

}  // namespace

TEST("serves others and stops while descriptors hang, and lets only so many do so") {
  auto check = std::make_shared<HangingCheck>();
  RingAcceptorOptions options;
  options.check_ms = 250;  // long enough for an honest offer on a busy machine
  Fixture fixture(options,
                  [check](UniqueFd fd, std::string* why) { return (*check)(std::move(fd), why); });
  int pipe_ends[2];
  CHECK_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  UniqueFd pipe_reader(pipe_ends[0]);
  UniqueFd pipe_writer(pipe_ends[1]);
  RingWriter writer;
  std::vector<UniqueFd> clients;
  for (uint32_t i = 1; i <= RingAcceptor::kMaxStuck; i++) {
    // Each of those before is stuck already, and this honest one is served all the same.
    CHECK_EQ(fixture.offer_ring(writer), kAccepted);
    clients.push_back(connect_to(fixture.folder.socket()));
    send_message(clients.back().get(), offer_of(kToken), {pipe_reader.get()});
    CHECK(eventually([&] { return fixture.acceptor.counters().stuck == i; }));
    CHECK_EQ(check->count(), i);
  }
  CHECK_EQ(fixture.offer_ring(writer), refused("busy"));
  CHECK_EQ(fixture.acceptor.counters().abandoned, uint64_t{RingAcceptor::kMaxStuck});

  check->release();
  for (UniqueFd& client : clients) CHECK_EQ(answer_from(client.get()), refused("timed_out"));
  CHECK(eventually([&] { return fixture.idle(); }));
  CHECK_EQ(fixture.acceptor.counters().stuck, 0u);
  CHECK_EQ(fixture.delivered(), size_t{RingAcceptor::kMaxStuck});
  CHECK_EQ(fixture.offer_ring(writer), kAccepted);
}

TEST("stops and is destroyed while a descriptor hangs, and hands nothing over afterwards") {
  auto check = std::make_shared<HangingCheck>();
  UniqueFd client;
  {
    Fixture fixture(
        {}, [check](UniqueFd fd, std::string* why) { return (*check)(std::move(fd), why); });
    int pipe_ends[2];
    CHECK_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
    UniqueFd pipe_reader(pipe_ends[0]);
    UniqueFd pipe_writer(pipe_ends[1]);
    client = connect_to(fixture.folder.socket());
    send_message(client.get(), offer_of(kToken), {pipe_reader.get()});
    CHECK(eventually([&] { return check->count() == 1; }));
    fixture.acceptor.stop();
    CHECK_EQ(check->count(), 1u);
    CHECK_EQ(::access(fixture.folder.socket().c_str(), F_OK), -1);
  }
  check->release();
  CHECK_EQ(answer_from(client.get()), refused("stopping"));
  CHECK_EQ(answer_from(client.get()), std::string());
}

TEST("goes on after the process had no descriptor left") {
  Fixture fixture;
  RingWriter writer;
  rlimit before{};
  CHECK_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 256;
  CHECK_EQ(::setrlimit(RLIMIT_NOFILE, &small), 0);
  std::vector<UniqueFd> hoard;
  do {
    hoard.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  } while (hoard.back());
  hoard.pop_back();
  hoard.pop_back();
  UniqueFd client = connect_to(fixture.folder.socket());  // the last one: it cannot be accepted
  CHECK(client.valid());
  CHECK(send_message(client.get(), offer_of(kToken), {writer.fd()}));
  hoard.clear();
  CHECK_EQ(answer_from(client.get()), kAccepted);
  CHECK_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace lezea
