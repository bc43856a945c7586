// Listens on ring.sock and takes in the scope rings that clients offer: one message
// {"session":"<token>"} with one descriptor per connection, one answer.
//
// A stranger's descriptor can hang whoever inspects or closes it (a FUSE file, for ever). So only a
// session's own process gets one received at all, and every connection, from its first byte to its
// close, belongs to a disposable thread that nobody waits for; the accepting thread only polls,
// accepts and starts those.
// A refusal without a hearing (busy, too_many_connections) may overtake the client's message, whose
// send then fails with EPIPE; the reason can be received all the same.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "scope/ring_file.h"

namespace lezea {

// Whose a token is: the session's handle and the pid, in the agent's namespace, of its process.
struct RingOwner {
  uint32_t session = 0;
  int pid = 0;
};

struct RingAcceptorOptions {
  std::string path;
  mode_t mode = 0600;
  uint64_t silence_ms = 2000;  // a connection that says nothing is closed after this
  uint64_t check_ms = 2000;    // a thread that takes longer over one offer counts as stuck
};

struct RingAcceptorCounters {
  uint64_t accepted = 0;
  // By reason: those of RingFile::adopt and ring_offer.h, what the receiver said, silent, stopping,
  // unknown_session, not_session_process, too_many_rings, too_many_connections, busy, timed_out.
  std::map<std::string, uint64_t> refused;
  uint64_t abandoned = 0;    // threads that ever counted as stuck
  uint32_t stuck = 0;        // of those, how many still are
  uint32_t connections = 0;  // threads alive now, stuck ones included
};

class RingAcceptor {
 public:
  static constexpr uint32_t kMaxConnections = 64;
  static constexpr uint32_t kMaxStuck = 8;
  // Threads beyond kMaxConnections that only say no; past these the backlog waits.
  static constexpr uint32_t kMaxRefusing = 16;
  static constexpr uint32_t kMaxRingsPerSession = 16;

  // Both are called from the acceptor's threads, one call at a time, never after stop() has
  // returned (it waits for a call that is under way); they must not block and must not call stop().
  using FindSession = std::function<std::optional<RingOwner>(const std::string& token)>;
  // False refuses the ring; `why` is then one word of [a-z0-9_].
  using Deliver = std::function<bool(uint32_t session, RingFile&& ring, std::string* why)>;
  // RingFile::adopt, except in tests of descriptors that hang.
  using Check = std::function<Result<RingFile>(UniqueFd fd, std::string* why)>;

  RingAcceptor(RingAcceptorOptions options, FindSession find, Deliver deliver,
               Check check = RingFile::adopt);
  ~RingAcceptor();
  RingAcceptor(const RingAcceptor&) = delete;
  RingAcceptor& operator=(const RingAcceptor&) = delete;

  // Binds and begins to accept. False with a sentence in `error` if it cannot. The threads get the
  // capabilities of the caller: call it from a thread that has none.
  bool start(std::string* error);
  // Removes the socket file and returns without waiting for any connection. Idempotent.
  void stop();

  // Forgets how many rings a session has offered; for when the session is gone and `find` knows it
  // no more.
  void forget_session(uint32_t session);
  RingAcceptorCounters counters() const;

 private:
  struct State;
  class Loop;

  // Shared with the threads, which may outlive this object.
  std::shared_ptr<State> state_;
  pthread_t thread_ = {};  // valid while started_
  bool started_ = false;
};

}  // namespace lezea
