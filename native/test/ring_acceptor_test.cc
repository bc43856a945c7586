// The ring acceptor against real clients: honest ones, and every bad offer of docs/ring.md.
#include "scope/ring_acceptor.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "ring_acceptor_fixture.h"
#include "scope/ring_offer.h"

namespace lezea {

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

}  // namespace lezea
