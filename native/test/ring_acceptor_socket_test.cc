// The file ring.sock: its mode, whose it is, and what is left of it.
#include <fcntl.h>

#include "ring_acceptor_fixture.h"

namespace lezea {

TEST("gives the socket file its mode whatever the umask") {
  for (mode_t mask : {mode_t{0}, mode_t{077}}) {
    for (mode_t mode : {mode_t{0600}, mode_t{0666}}) {
      mode_t before = ::umask(mask);
      RingAcceptorOptions options;
      options.mode = mode;
      Fixture fixture(options);
      ::umask(before);
      struct stat file{};
      CHECK_EQ(::lstat(fixture.folder.socket().c_str(), &file), 0);
      CHECK_EQ(file.st_mode & 07777, mode);
      CHECK_EQ(::access((fixture.folder.socket() + "~").c_str(), F_OK), -1);
    }
  }
}

TEST("starts and stops more than once and removes its file") {
  Fixture fixture;
  std::string error;
  RingWriter writer;
  CHECK(fixture.acceptor.start(&error));
  fixture.acceptor.stop();
  fixture.acceptor.stop();
  CHECK_EQ(::access(fixture.folder.socket().c_str(), F_OK), -1);
  CHECK_EQ(fixture.offer_ring(writer), std::string("(no connection)"));
  CHECK(fixture.acceptor.start(&error));
  CHECK_EQ(fixture.offer_ring(writer), kAccepted);
  fixture.acceptor.stop();
}

TEST("replaces a dead agent's socket, and nothing else") {
  Folder folder;
  RingAcceptorOptions options;
  options.path = folder.socket();
  auto find = [](const std::string&) { return std::optional<RingOwner>(); };
  auto deliver = [](uint32_t, RingFile&&, std::string*) { return true; };
  RingAcceptor acceptor(options, find, deliver);
  std::string error;
  {
    UniqueFd file(::open(options.path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    CHECK(!acceptor.start(&error));
    CHECK_EQ(error, options.path + " exists and is not a socket");
    ::unlink(options.path.c_str());
  }
  {
    UniqueFd dead(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    options.path.copy(address.sun_path, sizeof address.sun_path - 1);
    CHECK_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  CHECK(acceptor.start(&error));
  RingAcceptor second(options, find, deliver);
  CHECK(!second.start(&error));
  CHECK_EQ(error, "another program answers at " + options.path);
  second.stop();
  CHECK_EQ(::access(options.path.c_str(), F_OK), 0);
}

TEST("leaves alone the socket that another agent has put in its place") {
  Fixture fixture;
  ::unlink(fixture.folder.socket().c_str());
  std::string error;
  RingAcceptorOptions options;
  options.path = fixture.folder.socket();
  RingAcceptor other(
      options, [](const std::string&) { return std::optional<RingOwner>(); },
      [](uint32_t, RingFile&&, std::string*) { return true; });
  CHECK(other.start(&error));
  fixture.acceptor.stop();
  CHECK_EQ(::access(options.path.c_str(), F_OK), 0);
}

TEST("says why it cannot start") {
  RingAcceptorOptions options;
  auto find = [](const std::string&) { return std::optional<RingOwner>(); };
  auto deliver = [](uint32_t, RingFile&&, std::string*) { return true; };
  std::string error;
  options.path = "/tmp/" + std::string(200, 'x');
  CHECK(!RingAcceptor(options, find, deliver).start(&error));
  CHECK_EQ(error, "cannot use " + options.path + ": File name too long");
  options.path = "/nonexistent/ring.sock";
  CHECK(!RingAcceptor(options, find, deliver).start(&error));
  CHECK_EQ(error, std::string("cannot bind /nonexistent/ring.sock~: No such file or directory"));
}

}  // namespace lezea
