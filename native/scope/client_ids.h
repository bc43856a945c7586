// What the numbers in one session's records mean, in a memfd that may outlive the agent: a ring alone tells neither which scope a
// client calls 7 nor which thread. Grows with the session. Owns the descriptor. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "base/unique_fd.h"

namespace lezea {

struct ClientMeanings {
  int64_t clock_offset_ns = 0;                   // the client's CLOCK_MONOTONIC less the agent's
  bool own_namespace = true;                     // shares the agent's PID namespace
  std::unordered_map<uint32_t, uint32_t> slots;  // by the client's scope id
  std::unordered_map<int, int> tids;             // by the client's tid, where they differ
};

class ClientIds {
 public:
  ClientIds() = default;
  // Invalid where the machine has no memory for it.
  static ClientIds create(int64_t clock_offset_ns, bool own_namespace);
  // What was written so far; nothing where this is no such file.
  static std::optional<ClientMeanings> read(int fd);

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  void add_scope(uint32_t client_scope, uint32_t slot);
  void add_thread(int inside, int tid);

 private:
  struct Entry;
  void add(const Entry& entry);
  UniqueFd fd_;
  size_t entries_ = 0;
};

}  // namespace lezea
