// See library.h.
#include "nvml/library.h"

#include <dlfcn.h>

#include <algorithm>

#include "nvml/errors.h"

namespace lezea::nvml {
namespace {

// Without these there is nothing to ask of any device.
constexpr FunctionId kRequired[] = {FunctionId::kInit, FunctionId::kShutdown,
                                    FunctionId::kDeviceCount, FunctionId::kDeviceByIndex,
                                    FunctionId::kUuid};
constexpr Function<> kInit{FunctionId::kInit};
constexpr Function<> kShutdown{FunctionId::kShutdown};

// Of process lists: the newest of three symbols, and the oldest.
constexpr uint8_t kListV3 = 0;
constexpr uint8_t kListV1 = 2;

}  // namespace

Library::Library(LibraryOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {
  for (size_t i = 0; i < kFunctionCount; ++i) {
    stats_[i].symbol = symbols_of(static_cast<FunctionId>(i)).front();
  }
}

Library::~Library() { close(); }

bool Library::open(std::string& reason) {
  // RTLD_LOCAL: another library of the process must not find its symbols.
  handle_ = dlopen(options_.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  found_ = handle_ != nullptr;
  if (!found_) {
    const char* error = dlerror();
    reason = error != nullptr ? error : options_.path + " cannot be loaded";
    return false;
  }
  bind();
  if (bind_required(reason)) {
    must_reopen_ = false;
    const Return answer = call(kInit);
    if (answer == Return::kSuccess) {
      ++generation_;
      must_reopen_ = false;
      return true;
    }
    reason = std::string(symbol_name(FunctionId::kInit)) + ": " + text(answer);
  }
  dlclose(handle_);
  handle_ = nullptr;
  symbol_.fill(nullptr);
  return false;
}

void Library::close() {
  if (handle_ == nullptr) return;
  call(kShutdown);
  dlclose(handle_);
  handle_ = nullptr;
  symbol_.fill(nullptr);
  lost_.clear();
  refusals_.clear();
  must_reopen_ = false;
}

void Library::bind() {
  for (size_t i = 0; i < kFunctionCount; ++i) {
    const SymbolNames& names = symbols_of(static_cast<FunctionId>(i));
    symbol_[i] = nullptr;
    for (size_t version = 0; version < names.size() && names[version] != nullptr; ++version) {
      if (options_.disabled_symbols.count(names[version]) > 0) continue;
      void* const found = dlsym(handle_, names[version]);
      if (found == nullptr) continue;
      symbol_[i] = found;
      version_[i] = static_cast<uint8_t>(version);
      stats_[i].symbol = names[version];
      break;
    }
  }
  fingerprint();
}

// R535.43 to .85 wrote 32 bytes an entry for the symbol that means 24 before and after. They have the first
// of these symbols and not yet the second.
void Library::fingerprint() {
  wide_process_info_ = dlsym(handle_, "nvmlDeviceGetConfComputeMemSizeInfo") != nullptr &&
                       dlsym(handle_, "nvmlDeviceGetRunningProcessDetailList") == nullptr;
}

bool Library::bind_required(std::string& reason) {
  for (const FunctionId id : kRequired) {
    if (has(id)) continue;
    reason = options_.path + " has no " + symbols_of(id).front();
    return false;
  }
  return true;
}

const char* Library::symbol_name(FunctionId id) const {
  return has(id) ? symbols_of(id)[version_[index(id)]] : symbols_of(id).front();
}

size_t Library::process_info_bytes(FunctionId id) const {
  const uint8_t version = version_[index(id)];
  if (version == kListV1) return sizeof(ProcessInfoV1);
  return version == kListV3 && wide_process_info_ ? sizeof(ProcessInfoR535) : sizeof(ProcessInfoV2);
}

bool Library::refused(DeviceHandle device, uint64_t question, Return& answer) const {
  if (device == nullptr) return false;
  if (is_lost(device)) {
    answer = Return::kGpuIsLost;
    return true;
  }
  const std::optional<Return> standing =
      refusals_.standing({device, question}, clock_.monotonic_ns());
  if (!standing) return false;
  answer = *standing;
  return true;
}

uint64_t Library::begin(FunctionId id) {
  const uint64_t now_ns = clock_.monotonic_ns();
  in_flight_->function.store(id);
  in_flight_->since_ns.store(now_ns);
  return now_ns;
}

void Library::end(FunctionId id, uint64_t begun_ns, Return answer) {
  in_flight_->since_ns.store(0);
  const uint64_t took_ns = clock_.monotonic_ns() - begun_ns;
  CallStats& stats = stats_[index(id)];
  ++stats.count;
  // A wait for events that ends without one is what it is for.
  const bool failed = answer != Return::kSuccess &&
                      !(id == FunctionId::kEventSetWait && answer == Return::kTimeout);
  stats.failures += failed ? 1 : 0;
  stats.late += took_ns > options_.deadline_ns(id) ? 1 : 0;
  stats.total_ns += took_ns;
  stats.longest_ns = std::max(stats.longest_ns, took_ns);
  total_ns_ += took_ns;
}

void Library::note(DeviceHandle device, uint64_t question, Return answer) {
  if (ends_generation(answer)) must_reopen_ = true;
  if (device == nullptr) return;
  if (loses_device(answer)) lost_.insert(device);
  refusals_.note({device, question}, answer, clock_.monotonic_ns());
}

std::vector<CallStats> Library::stats() const {
  std::vector<CallStats> made;
  std::copy_if(stats_.begin(), stats_.end(), std::back_inserter(made),
               [](const CallStats& stats) { return stats.count > 0; });
  return made;
}

}  // namespace lezea::nvml
