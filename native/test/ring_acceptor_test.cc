// The ring acceptor against real clients: honest ones, every bad offer of docs/ring.md, and those
// whose descriptors hang.
#include "scope/ring_acceptor.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "ring_writer.h"
#include "scope/ring_offer.h"

namespace lezea {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr int kAnswerMs = 10'000;
const std::string kToken = "0123456789abcdef0123456789abcdef";
const std::string kAccepted = "{\"accepted\":true}";

std::string refused(const std::string& why) { return "{\"refused\":\"" + why + "\"}"; }

std::string offer_of(const std::string& token) { return "{\"session\":\"" + token + "\"}"; }

// Waits for what another thread will bring about; fails after ten seconds.
bool eventually(const std::function<bool()>& holds) {
  SystemClock clock;
  uint64_t end = clock.monotonic_ns() + 10'000 * kMs;
  while (!holds()) {
    if (clock.monotonic_ns() > end) return false;
    clock.sleep_ns(kMs);
  }
  return true;
}

class Folder {
 public:
  Folder() {
    std::string path = "/tmp/lezea-acceptor-XXXXXX";
    if (!::mkdtemp(path.data())) ::abort();
    path_ = path;
  }
  ~Folder() {
    ::unlink(socket().c_str());
    ::rmdir(path_.c_str());
  }
  std::string socket() const { return path_ + "/ring.sock"; }

 private:
  std::string path_;
};

UniqueFd connect_to(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

bool send_message(int socket_fd, const std::string& text, const std::vector<int>& fds) {
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  iovec parts{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &parts;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size() * sizeof(int));
  }
  return ::sendmsg(socket_fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

// One message, "" at the end of the connection, "(nothing)" if neither comes.
std::string answer_from(int socket_fd) {
  pollfd event{socket_fd, POLLIN, 0};
  if (::poll(&event, 1, kAnswerMs) <= 0) return "(nothing)";
  char text[256];
  ssize_t got = ::recv(socket_fd, text, sizeof text, 0);
  return got < 0 ? "(error)" : std::string(text, static_cast<size_t>(got));
}

std::string offer(const std::string& path, const std::string& text, const std::vector<int>& fds) {
  UniqueFd client = connect_to(path);
  if (!client) return "(no connection)";
  send_message(client.get(), text, fds);
  return answer_from(client.get());
}

// An acceptor with one session, which is this process, and what it handed over.
struct Fixture {
  explicit Fixture(RingAcceptorOptions options = {}, RingAcceptor::Check check = RingFile::adopt)
      : acceptor(
            with_path(std::move(options)), [this](const std::string& token) { return find(token); },
            [this](uint32_t session, RingFile&& ring, std::string* why) {
              return deliver(session, std::move(ring), why);
            },
            std::move(check)) {
    std::string error;
    CHECK(acceptor.start(&error));
    CHECK_EQ(error, std::string());
  }

  RingAcceptorOptions with_path(RingAcceptorOptions options) const {
    options.path = folder.socket();
    return options;
  }
  std::optional<RingOwner> find(const std::string& token) {
    std::lock_guard<std::mutex> lock(mutex);
    auto found = owners.find(token);
    if (found == owners.end()) return std::nullopt;
    return found->second;
  }
  bool deliver(uint32_t session, RingFile&& ring, std::string* why) {
    std::lock_guard<std::mutex> lock(mutex);
    if (!refuse_with.empty()) {
      *why = refuse_with;
      return false;
    }
    rings.emplace_back(session, std::move(ring));
    return true;
  }
  std::string offer_ring(const RingWriter& writer) {
    return offer(folder.socket(), offer_of(kToken), {writer.fd()});
  }
  size_t delivered() {
    std::lock_guard<std::mutex> lock(mutex);
    return rings.size();
  }
  bool idle() { return acceptor.counters().connections == 0; }

  Folder folder;
  std::mutex mutex;
  std::map<std::string, RingOwner> owners{{kToken, RingOwner{7, ::getpid()}}};
  std::vector<std::pair<uint32_t, RingFile>> rings;
  std::string refuse_with;
  RingAcceptor acceptor;  // last: its threads use the rest
};

// How many descriptors of this process are of the file that `fd` is of.
size_t descriptors_like(int fd) {
  struct stat wanted{};
  ::fstat(fd, &wanted);
  size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (dirent* entry = ::readdir(folder)) {
    struct stat file{};
    if (::fstat(std::atoi(entry->d_name), &file) != 0) continue;
    if (file.st_dev == wanted.st_dev && file.st_ino == wanted.st_ino) count++;
  }
  ::closedir(folder);
  return count;
}

}  // namespace

TEST("accepts a ring and hands it over as the same file") {
  Fixture fixture;
  RingWriter writer(8, 512);
  writer.put_numbered(3, 2);
  CHECK_EQ(fixture.offer_ring(writer), kAccepted);
  struct stat file{};
  CHECK_EQ(::fstat(writer.fd(), &file), 0);
  REQUIRE(fixture.delivered() == 1);
  auto& [session, ring] = fixture.rings[0];
  CHECK_EQ(session, 7u);
  CHECK_EQ(ring.inode(), uint64_t{file.st_ino});
  CHECK_EQ(ring.lanes(), 8u);
  ring.note_heads();
  CHECK_EQ(ring.new_records_at_last_note(), uint64_t{2});
  CHECK_EQ(fixture.acceptor.counters().accepted, uint64_t{1});
  CHECK(fixture.acceptor.counters().refused.empty());
}

TEST("accepts the message with white space") {
  Fixture fixture;
  RingWriter writer;
  std::string text = " {\t\"session\" : \"" + kToken + "\" }\r\n";
  CHECK_EQ(offer(fixture.folder.socket(), text, {writer.fd()}), kAccepted);
}

TEST("reads nothing but the one shape of message") {
  CHECK_EQ(parse_offer(offer_of(kToken)), kToken);
  CHECK_EQ(parse_offer("{ \"session\": \"" + kToken + "\"}\n"), kToken);
  const std::vector<std::string> bad = {
      "",
      "{}",
      "null",
      kToken,
      "{\"session\":" + kToken + "}",
      "{\"session\":\"" + kToken + "\"",
      "{\"session\":\"" + kToken + "\"}x",
      "{\"session\":\"" + kToken + "\"}{}",
      "{\"session\":\"" + kToken + "\",\"pid\":1}",
      "{\"session\":\"" + kToken + " \"}",
      "{\"session\":\" " + kToken + "\"}",
      "{\"session\":\"" + kToken + "0\"}",
      "{\"session\":\"" + kToken.substr(1) + "\"}",
      "{\"session\":\"" + kToken.substr(1) + "A\"}",
      "{\"session\":\"" + kToken.substr(1) + "g\"}",
      "{\"Session\":\"" + kToken + "\"}",
      "[\"session\",\"" + kToken + "\"]",
      std::string("{\"session\":\"") + kToken.substr(1) + '\0' + "\"}",
      std::string("{\"session\":\"") + kToken + "\"}" + '\0',
  };
  for (const std::string& text : bad) CHECK_EQ(parse_offer(text), std::string());
}

TEST("gives a descriptor no number before it is known who sent it") {
  int sockets[2];
  CHECK_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
  UniqueFd sender(sockets[0]);
  UniqueFd receiver(sockets[1]);
  RingWriter writer;
  CHECK(send_message(sender.get(), offer_of(kToken), {writer.fd()}));
  std::string token;
  CHECK(peek_token(receiver.get(), &token) == nullptr);
  CHECK_EQ(token, kToken);
  CHECK_EQ(descriptors_like(writer.fd()), size_t{1});
  UniqueFd fd;
  CHECK(receive_descriptor(receiver.get(), &fd) == nullptr);
  CHECK_EQ(descriptors_like(writer.fd()), size_t{2});
}

TEST("refuses every bad offer with its reason and keeps none of its descriptors") {
  Fixture fixture;
  RingWriter writer;
  RingWriter unsealed(4, 256, 0);
  int pipe_ends[2];
  CHECK_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  UniqueFd pipe_reader(pipe_ends[0]);
  UniqueFd pipe_writer(pipe_ends[1]);
  int good = writer.fd();
  std::string wrong_token = offer_of(std::string(32, 'f'));
  struct Case {
    const char* why;
    std::string text;
    std::vector<int> fds;
  };
  const std::vector<Case> cases = {
      {"no_descriptor", offer_of(kToken), {}},
      {"too_many_descriptors", offer_of(kToken), {good, good}},
      {"control_truncated", offer_of(kToken), {good, good, good}},
      {"control_truncated", offer_of(kToken), std::vector<int>(253, good)},
      {"too_large", std::string(257, ' '), {good}},
      {"too_large", offer_of(kToken) + std::string(256, ' '), {good}},
      {"malformed", "{\"session\":\"\"}", {good}},
      {"malformed", "not json", {good}},
      {"no_message", "", {good}},
      {"no_message", "", {}},
      {"unknown_session", wrong_token, {good}},
      {"not_sealable", offer_of(kToken), {pipe_ends[0]}},
      {"seal_shrink_missing", offer_of(kToken), {unsealed.fd()}},
  };
  for (const Case& c : cases) {
    CHECK_EQ(offer(fixture.folder.socket(), c.text, c.fds), refused(c.why));
  }
  CHECK(eventually([&] { return fixture.idle(); }));
  CHECK_EQ(descriptors_like(writer.fd()), size_t{1});
  CHECK_EQ(descriptors_like(unsealed.fd()), size_t{1});
  CHECK_EQ(fixture.delivered(), size_t{0});
  RingAcceptorCounters counters = fixture.acceptor.counters();
  CHECK_EQ(counters.accepted, uint64_t{0});
  CHECK_EQ(counters.refused["control_truncated"], uint64_t{2});
  CHECK_EQ(counters.refused["malformed"], uint64_t{2});
  CHECK_EQ(fixture.offer_ring(writer), kAccepted);
}

TEST("refuses a process that is not the session's, even with its token") {
  Fixture fixture;
  RingWriter writer;
  pid_t child = ::fork();
  if (child == 0) {
    bool right = fixture.offer_ring(writer) == refused("not_session_process");
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
  CHECK_EQ(fixture.delivered(), size_t{0});
}

TEST("closes connections that say nothing") {
  RingAcceptorOptions options;
  options.silence_ms = 20;
  Fixture fixture(options);
  UniqueFd silent = connect_to(fixture.folder.socket());
  CHECK_EQ(answer_from(silent.get()), refused("silent"));
  CHECK_EQ(answer_from(silent.get()), std::string());
  UniqueFd gone = connect_to(fixture.folder.socket());
  gone.reset();
  CHECK(eventually([&] { return fixture.acceptor.counters().refused["no_message"] == 1; }));
}

TEST("takes one message of a connection, and answers it even if more wait") {
  Fixture fixture;
  RingWriter writer;
  UniqueFd client = connect_to(fixture.folder.socket());
  for (int i = 0; i < 3; i++) send_message(client.get(), offer_of(kToken), {writer.fd()});
  CHECK_EQ(answer_from(client.get()), kAccepted);
  CHECK_EQ(answer_from(client.get()), std::string());
  CHECK_EQ(fixture.delivered(), size_t{1});
}

TEST("limits the rings of a session until it is forgotten") {
  Fixture fixture;
  RingWriter writer;
  for (uint32_t i = 0; i < RingAcceptor::kMaxRingsPerSession; i++) {
    CHECK_EQ(fixture.offer_ring(writer), kAccepted);
  }
  CHECK_EQ(fixture.offer_ring(writer), refused("too_many_rings"));
  fixture.acceptor.forget_session(7);
  CHECK_EQ(fixture.offer_ring(writer), kAccepted);
}

TEST("passes on why the receiver refused and does not count that ring") {
  Fixture fixture;
  RingWriter writer;
  fixture.refuse_with = "duplicate_ring";
  for (uint32_t i = 0; i <= RingAcceptor::kMaxRingsPerSession; i++) {
    CHECK_EQ(fixture.offer_ring(writer), refused("duplicate_ring"));
  }
  fixture.refuse_with.clear();
  CHECK_EQ(fixture.offer_ring(writer), kAccepted);
}

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
