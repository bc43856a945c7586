// How a call of NVML enters the double: what every exported function begins with.
#pragma once

#include <mutex>
#include <optional>

#include "nvml_double/control.h"
#include "nvml_double/machine.h"

namespace lezea::nvml_double {

using namespace lezea::nvml;

// One call: the machine's lock, and what the call is to fail with before it does anything.
class Entry {
 public:
  explicit Entry(const char* symbol) : symbol_(symbol), lock_(machine().mutex()) {
    failure_ = machine().enter(lock_, symbol, -1);
  }
  Entry(const char* symbol, DeviceHandle device) : symbol_(symbol), lock_(machine().mutex()) {
    const std::optional<Target> before = machine().find(device);
    failure_ = machine().enter(lock_, symbol, before ? before->gpu : -1);
    const std::optional<Target> target = machine().find(device);
    if (target) target_ = *target;
    if (!failure_ && !target) failure_ = Return::kInvalidArgument;
  }
  static Machine& machine() { return Machine::get(); }
  bool failed() const { return failure_.has_value(); }
  Return failure() const { return *failure_; }
  const Target& target() const { return target_; }
  const Gpu& gpu() const { return machine().scenario().gpus[target_.gpu]; }
  const GpuState& state() const { return machine().state(target_.gpu); }
  bool is_mig() const { return target_.mig != nullptr; }
  // A MIG instance, or a GPU that is cut into such: much is not to be had of them.
  bool cut() const { return is_mig() || gpu().mig_enabled(); }
  // As how many entries it is to ask room for, whatever it has.
  std::optional<uint32_t> shortage() const { return machine().take_shortage(symbol_); }
  std::unique_lock<std::mutex>& lock() { return lock_; }

 private:
  const char* symbol_;
  std::unique_lock<std::mutex> lock_;
  std::optional<Return> failure_;
  Target target_;
};

}  // namespace lezea::nvml_double

#define NVML_EXPORT LEZEA_DOUBLE_EXPORT lezea::nvml::Return

#define ENTER(symbol)          \
  Entry entry(symbol, device); \
  if (entry.failed()) return entry.failure()
