// Loads NVML's library at run time, binds what it has, and makes every call: timed, counted, remembered where it
// was refused, and seen from outside while it lasts. One thread uses it; in_flight() may be read by any.
//
// A generation is the time from one successful init to the next close: handles, refusals and counters of the
// driver belong to one. What was bound is bound anew in each, since the file may be another.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "base/clock.h"
#include "nvml/functions.h"
#include "nvml/refusals.h"

namespace lezea::nvml {

struct LibraryOptions {
  std::string path = "libnvidia-ml.so.1";
  // Symbols that are treated as absent: an older one is bound, or the call fails with kFunctionNotFound.
  std::set<std::string> disabled_symbols;
  // A call that takes longer is late: it hangs, for all that anybody can tell. Opening wakes devices, which takes
  // seconds where nothing keeps them awake.
  uint64_t call_deadline_ns = 5'000'000'000;
  uint64_t init_deadline_ns = 60'000'000'000;

  uint64_t deadline_ns(FunctionId id) const {
    return id == FunctionId::kInit ? init_deadline_ns : call_deadline_ns;
  }
};

// What calls of one function took, over all generations.
struct CallStats {
  const char* symbol;  // the one bound last
  uint64_t count = 0;
  uint64_t failures = 0;
  uint64_t late = 0;  // took longer than the deadline
  uint64_t total_ns = 0;
  uint64_t longest_ns = 0;
};

// The call that is being made; written by the calling thread alone.
struct InFlight {
  std::atomic<uint64_t> since_ns{0};  // CLOCK_MONOTONIC; 0: none
  std::atomic<FunctionId> function{FunctionId::kCount};
};

class Library {
 public:
  // `clock` outlives it.
  Library(LibraryOptions options, const Clock& clock);
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // Loads, binds and initialises: a new generation. Otherwise why not, in one line; nothing is loaded then.
  // Only when closed.
  bool open(std::string& reason);
  // Idempotent. Never called while a call is in flight, so never into a library that hangs.
  void close();
  bool is_open() const { return handle_ != nullptr; }
  // True once `open` found the file: what failed then is the driver.
  bool found() const { return found_; }
  uint64_t generation() const { return generation_; }
  // A call said that this generation is over.
  bool must_reopen() const { return must_reopen_; }

  bool has(FunctionId id) const { return symbol_[index(id)] != nullptr; }
  // The symbol that the function is bound to; its newest name where it is not.
  const char* symbol_name(FunctionId id) const;
  // Bytes of an entry of the process lists that this function fills.
  size_t process_info_bytes(FunctionId id) const;

  // A device that was lost is not called again before this.
  bool is_lost(DeviceHandle device) const { return lost_.count(device) > 0; }
  void try_again(DeviceHandle device) { lost_.erase(device); }
  // Refusals of fields are kept by the caller with the same rules.
  Refusals& refusals() { return refusals_; }

  template <class T>
  struct Exactly {
    using Type = T;
  };
  template <class... Arguments>
  Return call(const Function<Arguments...>& function,
              typename Exactly<Arguments>::Type... arguments);

  std::vector<CallStats> stats() const;
  // CPU and waiting of all calls so far, nanoseconds.
  uint64_t total_ns() const { return total_ns_; }
  // Outlives the library: a thread that watches may come later than its end.
  std::shared_ptr<const InFlight> in_flight() const { return in_flight_; }

 private:
  static size_t index(FunctionId id) { return static_cast<size_t>(id); }
  void bind();
  void fingerprint();
  bool bind_required(std::string& reason);
  bool refused(DeviceHandle device, uint64_t question, Return& answer) const;
  uint64_t begin(FunctionId id);
  void end(FunctionId id, uint64_t begun_ns, Return answer);
  void note(DeviceHandle device, uint64_t question, Return answer);

  const LibraryOptions options_;
  const Clock& clock_;
  void* handle_ = nullptr;
  bool found_ = false;
  bool must_reopen_ = false;
  uint64_t generation_ = 0;
  std::array<void*, kFunctionCount> symbol_{};
  std::array<uint8_t, kFunctionCount> version_{};  // index into its names
  bool wide_process_info_ = false;                 // R535.43 to .85
  std::set<DeviceHandle> lost_;
  Refusals refusals_;
  std::array<CallStats, kFunctionCount> stats_{};
  uint64_t total_ns_ = 0;
  std::shared_ptr<InFlight> in_flight_ = std::make_shared<InFlight>();
};

namespace detail {

// The device that a call is about, where its first argument is one.
inline DeviceHandle device_of() { return nullptr; }
template <class First, class... Rest>
DeviceHandle device_of(First first, Rest...) {
  if constexpr (std::is_same_v<First, DeviceHandle>) return first;
  return nullptr;
}

// Which clock, sensor or instance a call asks for: each is refused by itself.
template <class Argument>
uint64_t selector_of(Argument argument) {
  if constexpr (std::is_enum_v<Argument>) return static_cast<uint64_t>(argument) + 1;
  return 0;
}

}  // namespace detail

template <class... Arguments>
Return Library::call(const Function<Arguments...>& function,
                     typename Exactly<Arguments>::Type... arguments) {
  void* const symbol = symbol_[index(function.id)];
  if (symbol == nullptr) return Return::kFunctionNotFound;
  const DeviceHandle device = detail::device_of(arguments...);
  const uint64_t question =
      (static_cast<uint64_t>(function.id) << 40) + (0 + ... + detail::selector_of(arguments));
  Return answer = Return::kSuccess;
  if (refused(device, question, answer)) return answer;
  const uint64_t begun_ns = begin(function.id);
  answer = reinterpret_cast<Return (*)(Arguments...)>(symbol)(arguments...);
  end(function.id, begun_ns, answer);
  note(device, question, answer);
  return answer;
}

}  // namespace lezea::nvml
