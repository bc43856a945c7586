// Remembers what a device refused, so that it is not asked again in vain: for good what it does not support,
// for a while, doubling from 1 s to 60 s, what it may yet grant. Belongs to one generation and one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "nvml/nvml_abi.h"

namespace lezea::nvml {

// What was asked: a call, or a field of one in its scope.
struct Question {
  DeviceHandle device;  // null: of the library
  uint64_t id;

  bool operator<(const Question& other) const {
    return device != other.device ? device < other.device : id < other.id;
  }
};

class Refusals {
 public:
  // The answer that would come again; nothing when it is time to ask.
  std::optional<Return> standing(const Question& question, uint64_t now_ns) const;
  void note(const Question& question, Return answer, uint64_t now_ns);
  void clear() { refused_.clear(); }

 private:
  struct Refusal {
    Return answer;
    uint64_t pause_ns;  // 0: for good
    uint64_t until_ns;
  };
  std::map<Question, Refusal> refused_;
};

}  // namespace lezea::nvml
