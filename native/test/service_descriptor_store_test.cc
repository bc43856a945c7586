// What a service manager is given to keep, and what the next start gets: real sockets, real descriptors.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "fake_manager.h"
#include "scope/client_ids.h"
#include "service/descriptor_store.h"

using namespace lezea;
using namespace lezea::test;

namespace {

ino_t inode_of(int fd) {
  struct stat file{};
  CHECK_EQ(::fstat(fd, &file), 0);
  return file.st_ino;
}

UniqueFd some_file() { return UniqueFd(::memfd_create("lezea-store-test", MFD_CLOEXEC)); }

}  // namespace

TEST("the manager gets what is to be kept, once, and gives up what is dropped, by name") {
  FakeManager manager;
  const auto store = manager.store();
  const UniqueFd one = some_file();
  const UniqueFd other = some_file();
  store->keep("ring-1-2", one.get());
  store->keep("ring-1-2", one.get());
  store->keep("ring-1-2", other.get());
  store->keep("ids-1-2", other.get());
  CHECK_EQ(manager.receive(), false);  // nothing is sent before it is flushed
  store->flush();
  CHECK(manager.receive());
  CHECK_EQ(manager.names().size(), 2u);
  CHECK_EQ(inode_of(manager.passed().at(0).fd.get()), inode_of(one.get()));
  store->drop("ring-1-2");
  store->flush();
  manager.receive();
  CHECK(manager.names().empty());
}

TEST("what a manager cannot take now is sent later, in order, and bounds what waits") {
  FakeManager manager;
  const auto store = manager.store();
  const UniqueFd file = some_file();
  for (int i = 0; i < 5'000; ++i) store->keep("ring-" + std::to_string(i) + "-1", file.get());
  CHECK_EQ(store->waiting(), 4'096u);
  store->flush();
  CHECK(store->waiting() > 0);  // a socket takes some hundreds
  for (int i = 0; i < 10'000 && store->waiting() > 0; ++i) {
    manager.receive();
    store->flush();
  }
  CHECK_EQ(store->waiting(), 0u);
}

TEST("without a manager nothing is kept and nothing waits") {
  for (const char* address : {"", "no-address", "/nowhere/notify", "@lezea-nobody-listens"}) {
    DescriptorStore store(address);
    store.keep("ring-1-2", some_file().get());
    store.flush();
    CHECK_EQ(store.waiting(), 0u);
  }
}

TEST("a manager that is gone holds nothing up") {
  auto manager = std::make_unique<FakeManager>();
  const auto store = manager->store();
  manager.reset();
  store->keep("ring-1-2", some_file().get());
  store->flush();
  CHECK_EQ(store->waiting(), 0u);
}

// In a child, whose descriptors from 3 on may be anything.
TEST("descriptors that were passed are taken by number, and closed in programs") {
  const pid_t child = ::fork();
  if (child == 0) {
    const UniqueFd file = some_file();
    const int copy = ::fcntl(file.get(), F_DUPFD, 100);
    ::dup2(copy, 3);
    ::dup2(copy, 4);
    ::close(5);
    guard_passed_descriptors(2);
    const bool guarded = (::fcntl(3, F_GETFD) & ::fcntl(4, F_GETFD) & FD_CLOEXEC) != 0;
    const auto taken = take_passed_descriptors({"a", "b", "c"});
    const bool right = taken.size() == 3 && taken[0].name == "a" && taken[0].fd.get() == 3 &&
                       taken[1].fd.get() == 4 && !taken[2].fd.valid();
    ::_exit(guarded && right ? 0 : 1);
  }
  int status = -1;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

TEST("what a client's numbers mean is read again as it was written") {
  ClientIds ids = ClientIds::create(-5'000, false);
  REQUIRE(ids.valid());
  for (uint32_t scope = 1; scope <= 1'000; ++scope) ids.add_scope(scope, scope + 70);
  ids.add_scope(3, 5);
  ids.add_thread(7, 4'000);
  const auto meanings = ClientIds::read(ids.fd());
  REQUIRE(meanings.has_value());
  CHECK_EQ(meanings->clock_offset_ns, -5'000);
  CHECK_EQ(meanings->own_namespace, false);
  CHECK_EQ(meanings->slots.size(), 1'000u);
  CHECK_EQ(meanings->slots.at(3), 5u);
  CHECK_EQ(meanings->slots.at(1'000), 1'070u);
  CHECK_EQ(meanings->tids.at(7), 4'000);
  CHECK(!ClientIds::read(some_file().get()).has_value());
  CHECK(!ClientIds::read(-1).has_value());
}
