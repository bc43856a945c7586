// Loading NVML: what is bound of which driver, generations, refusals, the kill-switch, what calls took.
#include <string>

#include "base/clock.h"
#include "check.h"
#include "manual_clock.h"
#include "nvml/errors.h"
#include "nvml/library.h"
#include "nvml/refusals.h"
#include "nvml_double.h"

using namespace lezea;
using namespace lezea::nvml;
using lezea::test::ManualClock;
using lezea::test::NvmlDouble;

namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

LibraryOptions at(const NvmlDouble& machine, std::set<std::string> disabled = {}) {
  return {machine.path(), std::move(disabled)};
}

DeviceHandle first_device(Library& library) {
  DeviceHandle device = nullptr;
  CHECK(library.call(function::kDeviceByIndex, 0, &device) == Return::kSuccess);
  return device;
}

uint64_t count_of(const Library& library, const std::string& symbol) {
  for (const CallStats& stats : library.stats()) {
    if (symbol == stats.symbol) return stats.count;
  }
  return 0;
}

}  // namespace

TEST("every function has a symbol, and every symbol begins with nvml") {
  for (size_t i = 0; i < kFunctionCount; ++i) {
    const SymbolNames& names = symbols_of(static_cast<FunctionId>(i));
    REQUIRE(names[0] != nullptr);
    for (const char* name : names) {
      CHECK(name == nullptr || std::string(name).substr(0, 4) == "nvml");
    }
  }
}

TEST("a library that is not there is said, and nothing is called") {
  ManualClock clock;
  Library library({"/nonexistent/libnvidia-ml.so.1", {}}, clock);
  std::string reason;
  CHECK(!library.open(reason));
  CHECK(reason.find("/nonexistent/libnvidia-ml.so.1") != std::string::npos);
  CHECK(!library.found());
  uint32_t count = 7;
  CHECK(library.call(function::kDeviceCount, &count) == Return::kFunctionNotFound);
  CHECK_EQ(count, 7);
  CHECK_EQ(library.generation(), 0);
}

TEST("a library of that name that is not NVML is refused by the symbol that it lacks") {
  ManualClock clock;
  NvmlDouble machine("h200x8", "empty");
  Library library(at(machine), clock);
  std::string reason;
  CHECK(!library.open(reason));
  CHECK(library.found());
  CHECK(reason.find("has no nvmlInit_v2") != std::string::npos);
}

TEST("a current driver is bound to its newest symbols, and each opening is a generation") {
  ManualClock clock;
  NvmlDouble machine("h200x8");
  Library library(at(machine), clock);
  std::string reason;
  for (uint64_t generation = 1; generation <= 3; ++generation) {
    REQUIRE(library.open(reason));
    CHECK_EQ(library.generation(), generation);
    uint32_t count = 0;
    CHECK(library.call(function::kDeviceCount, &count) == Return::kSuccess);
    CHECK_EQ(count, 8);
    library.close();
    library.close();
  }
  REQUIRE(library.open(reason));
  CHECK_EQ(library.symbol_name(FunctionId::kComputeProcesses),
           std::string("nvmlDeviceGetComputeRunningProcesses_v3"));
  CHECK_EQ(library.process_info_bytes(FunctionId::kComputeProcesses), 24);
  CHECK(library.has(FunctionId::kMemoryV2));
  library.close();
  CHECK_EQ(machine.calls("nvmlInit_v2"), machine.calls("nvmlShutdown"));
}

TEST("an old driver is bound to what it has; what it lacks is not found, never called") {
  ManualClock clock;
  NvmlDouble machine("two_tenants", "r450");
  Library library(at(machine), clock);
  std::string reason;
  REQUIRE(library.open(reason));
  CHECK_EQ(library.symbol_name(FunctionId::kComputeProcesses),
           std::string("nvmlDeviceGetComputeRunningProcesses"));
  CHECK_EQ(library.process_info_bytes(FunctionId::kComputeProcesses), 16);
  CHECK(!library.has(FunctionId::kMemoryV2));
  MemoryV2 memory{};
  CHECK(library.call(function::kMemoryV2, first_device(library), &memory) ==
        Return::kFunctionNotFound);
}

TEST("the R535 drivers that wrote wider process entries are told by their symbols") {
  ManualClock clock;
  NvmlDouble machine("r535_layout", "r535");
  Library library(at(machine), clock);
  std::string reason;
  REQUIRE(library.open(reason));
  CHECK_EQ(library.process_info_bytes(FunctionId::kComputeProcesses), 32);
}

TEST("a disabled symbol is absent: an older one serves, or none, and it is never called") {
  ManualClock clock;
  NvmlDouble machine("r535_layout", "r535");
  Library library(at(machine, {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetName"}),
                  clock);
  std::string reason;
  REQUIRE(library.open(reason));
  CHECK_EQ(library.symbol_name(FunctionId::kComputeProcesses),
           std::string("nvmlDeviceGetComputeRunningProcesses_v2"));
  CHECK_EQ(library.process_info_bytes(FunctionId::kComputeProcesses), 24);
  char name[kNameBytes];
  CHECK(library.call(function::kName, first_device(library), name, kNameBytes) ==
        Return::kFunctionNotFound);
  CHECK_EQ(machine.calls("nvmlDeviceGetName"), 0);
}

TEST("what is not supported is asked once a generation") {
  ManualClock clock;
  NvmlDouble machine("not_supported");
  Library library(at(machine), clock);
  std::string reason;
  REQUIRE(library.open(reason));
  Utilization utilization{};
  for (int i = 0; i < 100; ++i) {
    CHECK(library.call(function::kUtilization, first_device(library), &utilization) ==
          Return::kNotSupported);
    clock.advance_ns(100 * kSecondNs);
  }
  CHECK_EQ(machine.calls("nvmlDeviceGetUtilizationRates"), 1);
  library.close();
  REQUIRE(library.open(reason));
  library.call(function::kUtilization, first_device(library), &utilization);
  CHECK_EQ(machine.calls("nvmlDeviceGetUtilizationRates"), 2);
}

TEST("one clock that is not supported does not hide the other") {
  ManualClock clock;
  Refusals refusals;
  const auto device = reinterpret_cast<DeviceHandle>(uint64_t{1});
  CHECK(lezea::nvml::detail::selector_of(ClockDomain::kSm) !=
        lezea::nvml::detail::selector_of(ClockDomain::kMemory));
  refusals.note({device, 1}, Return::kNotSupported, 0);
  CHECK(refusals.standing({device, 1}, ~0ULL) == Return::kNotSupported);
  CHECK(!refusals.standing({device, 2}, 0).has_value());
}

TEST("what may yet be granted is asked again, after 1, 2, 4 … 60 seconds") {
  Refusals refusals;
  const Question question{nullptr, 5};
  uint64_t now_ns = 10 * kSecondNs;
  for (const uint64_t pause_s : {1, 2, 4, 8, 16, 32, 60, 60}) {
    refusals.note(question, Return::kUnknown, now_ns);
    CHECK(refusals.standing(question, now_ns + pause_s * kSecondNs - 1) == Return::kUnknown);
    CHECK(!refusals.standing(question, now_ns + pause_s * kSecondNs).has_value());
    now_ns += pause_s * kSecondNs;
  }
  refusals.note(question, Return::kSuccess, now_ns);
  refusals.note(question, Return::kNoPermission, now_ns);
  CHECK(!refusals.standing(question, now_ns + kSecondNs).has_value());
}

TEST("each call is counted and timed by its symbol") {
  SystemClock clock;
  NvmlDouble machine("no_energy_counter");
  Library library(at(machine), clock);
  std::string reason;
  REQUIRE(library.open(reason));
  const DeviceHandle device = first_device(library);
  MemoryV2 memory{};
  memory.version = kMemoryV2Version;
  for (int i = 0; i < 5; ++i) {
    CHECK(library.call(function::kMemoryV2, device, &memory) == Return::kSuccess);
  }
  uint32_t percent = 0;
  CHECK(library.call(function::kFanSpeed, device, &percent) == Return::kNotSupported);
  CHECK_EQ(count_of(library, "nvmlDeviceGetMemoryInfo_v2"), 5);
  uint64_t sum_ns = 0;
  for (const CallStats& stats : library.stats()) {
    CHECK_EQ(stats.count, machine.calls(stats.symbol));
    CHECK(stats.longest_ns <= stats.total_ns);
    CHECK_EQ(stats.failures, std::string(stats.symbol) == "nvmlDeviceGetFanSpeed" ? 1 : 0);
    sum_ns += stats.total_ns;
  }
  CHECK_EQ(library.total_ns(), sum_ns);
  CHECK(sum_ns > 0);
  CHECK_EQ(library.in_flight()->since_ns.load(), 0);
}

TEST("a driver that went away ends the generation, and is back in the next") {
  ManualClock clock;
  NvmlDouble machine("driver_reload");
  Library library(at(machine), clock);
  std::string reason;
  REQUIRE(library.open(reason));
  machine.advance_ms(6000);
  uint32_t count = 0;
  CHECK(library.call(function::kDeviceCount, &count) == Return::kUninitialized);
  CHECK(library.must_reopen());
  library.close();
  CHECK(!library.open(reason));
  CHECK(library.found());
  CHECK_EQ(reason, std::string("nvmlInit_v2: driver is not loaded"));
  machine.advance_ms(3000);
  CHECK(library.open(reason));
  CHECK_EQ(library.generation(), 2);
}

TEST("a lost device is not called again until it may be tried; others are") {
  ManualClock clock;
  NvmlDouble machine("gpu_lost");
  Library library(at(machine), clock);
  std::string reason;
  REQUIRE(library.open(reason));
  machine.advance_ms(3000);
  DeviceHandle lost = nullptr;
  CHECK(library.call(function::kDeviceByIndex, 1, &lost) == Return::kSuccess);
  Utilization utilization{};
  for (int i = 0; i < 10; ++i) {
    CHECK(library.call(function::kUtilization, lost, &utilization) == Return::kGpuIsLost);
  }
  CHECK_EQ(machine.calls("nvmlDeviceGetUtilizationRates"), 1);
  CHECK(library.is_lost(lost));
  CHECK(library.call(function::kUtilization, first_device(library), &utilization) ==
        Return::kSuccess);
  machine.advance_ms(60000);
  library.try_again(lost);
  CHECK(library.call(function::kUtilization, lost, &utilization) == Return::kSuccess);
}

TEST("every code has words of our own") {
  for (const uint32_t code : {0, 1, 3, 9, 15, 16, 18, 25, 999}) {
    CHECK(std::string(text(static_cast<Return>(code))).find("later library") == std::string::npos);
  }
  CHECK_EQ(std::string(text(static_cast<Return>(12345))),
           std::string("a return code of a later library"));
}
