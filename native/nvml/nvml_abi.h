// What the agent uses of NVML's binary interface, in our own declarations: return codes, structures as the
// driver's library lays them out, and the identifiers of fields. Nothing is linked or included: a mistake
// here would be a wrong number, so every size and offset is asserted. Names and figures: NVIDIA's nvml.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lezea::nvml {

enum class Return : uint32_t {
  kSuccess = 0,
  kUninitialized = 1,
  kInvalidArgument = 2,
  kNotSupported = 3,
  kNoPermission = 4,
  kAlreadyInitialized = 5,
  kNotFound = 6,
  kInsufficientSize = 7,
  kInsufficientPower = 8,
  kDriverNotLoaded = 9,
  kTimeout = 10,
  kIrqIssue = 11,
  kLibraryNotFound = 12,
  kFunctionNotFound = 13,
  kCorruptedInforom = 14,
  kGpuIsLost = 15,
  kResetRequired = 16,
  kOperatingSystem = 17,
  kLibRmVersionMismatch = 18,
  kInUse = 19,
  kMemory = 20,
  kNoData = 21,
  kArgumentVersionMismatch = 25,
  kDeprecated = 26,
  kNotReady = 27,
  kGpuNotFound = 28,
  kInvalidState = 29,
  kUnknown = 999,
};

// Opaque: valid in the generation that gave them, never dereferenced.
using DeviceHandle = struct OpaqueDevice*;
using EventSetHandle = struct OpaqueEventSet*;
using GpmSampleHandle = struct OpaqueGpmSample*;

// "Not available" in 64-bit and 32-bit fields.
constexpr uint64_t kNotAvailable64 = ~0ULL;
constexpr uint32_t kNotAvailable32 = ~0U;

// The version word of a structure that carries one: its size, and its number above 24 bits.
constexpr uint32_t struct_version(size_t bytes, uint32_t number) {
  return static_cast<uint32_t>(bytes) | (number << 24);
}

constexpr uint32_t kNameBytes = 96;
constexpr uint32_t kUuidBytes = 96;
constexpr uint32_t kVersionBytes = 80;
constexpr uint32_t kSerialBytes = 30;
constexpr uint32_t kVbiosBytes = 32;

enum class ClockDomain : uint32_t { kGraphics = 0, kSm = 1, kMemory = 2, kVideo = 3 };
enum class ComputeMode : uint32_t { kDefault = 0, kProhibited = 2, kExclusiveProcess = 3 };
enum class TemperatureSensor : uint32_t { kGpu = 0 };

struct Utilization {  // percent of the time of the last sample period, 1/6 to 1 s
  uint32_t gpu;       // any kernel ran
  uint32_t memory;    // the memory bus was busy; says nothing of bytes
};
static_assert(sizeof(Utilization) == 8);

struct MemoryV1 {  // bytes; used contains what is reserved
  uint64_t total;
  uint64_t free;
  uint64_t used;
};
static_assert(sizeof(MemoryV1) == 24);

struct MemoryV2 {  // bytes; used does not contain what is reserved
  uint32_t version;
  uint64_t total;
  uint64_t reserved;
  uint64_t free;
  uint64_t used;
};
static_assert(sizeof(MemoryV2) == 40 && offsetof(MemoryV2, total) == 8);
static_assert(offsetof(MemoryV2, used) == 32);
constexpr uint32_t kMemoryV2Version = struct_version(sizeof(MemoryV2), 2);

struct PciInfo {
  char bus_id_legacy[16];
  uint32_t domain;
  uint32_t bus;
  uint32_t device;
  uint32_t device_id;
  uint32_t subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(PciInfo) == 68 && offsetof(PciInfo, bus_id) == 36);

struct DeviceAttributes {  // of a MIG instance
  uint32_t multiprocessors;
  uint32_t copy_engines;
  uint32_t decoders;
  uint32_t encoders;
  uint32_t jpeg_engines;
  uint32_t ofa_engines;
  uint32_t gpu_instance_slices;
  uint32_t compute_instance_slices;
  uint64_t memory_mib;
};
static_assert(sizeof(DeviceAttributes) == 40 && offsetof(DeviceAttributes, memory_mib) == 32);

enum class ValueType : uint32_t {
  kDouble = 0,
  kUnsignedInt = 1,
  kUnsignedLong = 2,
  kUnsignedLongLong = 3,
  kSignedLongLong = 4,
  kSignedInt = 5,
  kUnsignedShort = 6,
};

union Value {
  double f64;
  int32_t i32;
  uint32_t u32;
  uint64_t u64;  // of both unsigned long and unsigned long long: these machines are LP64
  int64_t i64;
  uint16_t u16;
};
static_assert(sizeof(Value) == 8 && sizeof(long) == 8);

struct FieldValue {
  uint32_t field;
  uint32_t scope;
  int64_t timestamp_us;  // since 1970
  int64_t latency_us;    // what it took the library
  ValueType type;
  Return result;  // of this field; the value means nothing unless it is kSuccess
  Value value;
};
static_assert(sizeof(FieldValue) == 40 && offsetof(FieldValue, timestamp_us) == 8);
static_assert(offsetof(FieldValue, type) == 24 && offsetof(FieldValue, result) == 28);
static_assert(offsetof(FieldValue, value) == 32);

namespace field {
constexpr uint32_t kEccCorrectedVolatile = 3;
constexpr uint32_t kEccUncorrectedVolatile = 4;
constexpr uint32_t kThrottlePowerNs = 74;
constexpr uint32_t kMemoryTemperature = 82;
constexpr uint32_t kEnergyMillijoules = 83;
constexpr uint32_t kNvlinkTransmittedKib = 138;
constexpr uint32_t kNvlinkReceivedKib = 139;
constexpr uint32_t kRemappedCorrectable = 142;
constexpr uint32_t kRemappedUncorrectable = 143;
constexpr uint32_t kRemappedPending = 144;
constexpr uint32_t kRemappedFailure = 145;
constexpr uint32_t kPowerAverage = 185;  // milliwatts, of a scope
constexpr uint32_t kPowerInstant = 186;
constexpr uint32_t kPcieTransmittedBytes = 197;
constexpr uint32_t kPcieReceivedBytes = 198;
constexpr uint32_t kNvlinkTransmittedBytes = 202;  // NVLink 5 and later
constexpr uint32_t kNvlinkReceivedBytes = 204;
constexpr uint32_t kRecoveryAction = 230;
constexpr uint32_t kThrottleSoftwareThermalNs = 269;
constexpr uint32_t kThrottleHardwareThermalNs = 270;
constexpr uint32_t kThrottlePowerBrakeNs = 271;
}  // namespace field

namespace field_scope {
constexpr uint32_t kGpu = 0;
constexpr uint32_t kModule = 1;  // the GPU with its memory and, on superchips, the CPU
constexpr uint32_t kAllLinks = ~0U;
}  // namespace field_scope

// Of running processes, three layouts by the driver's version; see Library::process_info_bytes().
struct ProcessInfoV1 {
  uint32_t pid;
  uint64_t used_gpu_memory;  // bytes, or kNotAvailable64
};
static_assert(sizeof(ProcessInfoV1) == 16 && offsetof(ProcessInfoV1, used_gpu_memory) == 8);

struct ProcessInfoV2 {
  uint32_t pid;
  uint64_t used_gpu_memory;
  uint32_t gpu_instance;  // kNotAvailable32 without MIG
  uint32_t compute_instance;
};
static_assert(sizeof(ProcessInfoV2) == 24 && offsetof(ProcessInfoV2, gpu_instance) == 16);

// What R535.43 to .85 wrote for the same `_v3` symbol.
struct ProcessInfoR535 {
  uint32_t pid;
  uint64_t used_gpu_memory;
  uint32_t gpu_instance;
  uint32_t compute_instance;
  uint64_t protected_memory;
};
static_assert(sizeof(ProcessInfoR535) == 32 && offsetof(ProcessInfoR535, protected_memory) == 24);

// Percent since the sample that was last seen. Timestamps are "CPU microseconds": of 1970 or of boot, by driver.
struct ProcessUtilizationSample {
  uint32_t pid;
  uint64_t timestamp_us;
  uint32_t sm;
  uint32_t memory;
  uint32_t encoder;
  uint32_t decoder;
};
static_assert(sizeof(ProcessUtilizationSample) == 32);
static_assert(offsetof(ProcessUtilizationSample, timestamp_us) == 8);
static_assert(offsetof(ProcessUtilizationSample, sm) == 16);

struct ProcessUtilizationInfoV1 {
  uint64_t timestamp_us;
  uint32_t pid;
  uint32_t sm;
  uint32_t memory;
  uint32_t encoder;
  uint32_t decoder;
  uint32_t jpeg;
  uint32_t ofa;
};
static_assert(sizeof(ProcessUtilizationInfoV1) == 40);
static_assert(offsetof(ProcessUtilizationInfoV1, pid) == 8);

struct ProcessesUtilizationInfoV1 {
  uint32_t version;
  uint32_t count;  // in: of the array; out: of the rows
  uint64_t last_seen_us;
  ProcessUtilizationInfoV1* rows;
};
static_assert(sizeof(ProcessesUtilizationInfoV1) == 24);
static_assert(offsetof(ProcessesUtilizationInfoV1, rows) == 16);
constexpr uint32_t kProcessesUtilizationVersion =
    struct_version(sizeof(ProcessesUtilizationInfoV1), 1);

struct EventData {
  DeviceHandle device;
  uint64_t type;
  uint64_t data;  // the XID; 999 where the driver does not know it
  uint32_t gpu_instance;
  uint32_t compute_instance;
};
static_assert(sizeof(EventData) == 32 && offsetof(EventData, gpu_instance) == 24);
constexpr uint64_t kEventXid = 8;

// The number of a MIG GPU instance within its GPU.
enum class GpuInstance : uint32_t {};

// GPM, whose structures carry a bare version and not their size.
struct GpmSupport {
  uint32_t version;
  uint32_t supported;
};
static_assert(sizeof(GpmSupport) == 8);
constexpr uint32_t kGpmSupportVersion = 1;

namespace gpm_metric {                   // percent
constexpr uint32_t kGraphicsActive = 1;  // of the time, in which anything was computed or drawn
constexpr uint32_t kSmActive = 2;        // of the multiprocessors, the mean of those that had work
constexpr uint32_t kSmOccupancy =
    3;  // of the warps that they can hold, the mean of those that were there
constexpr uint32_t kMemoryBandwidth = 10;  // of the greatest that the memory has
}  // namespace gpm_metric

struct GpmMetric {
  uint32_t id;
  Return result;  // of this metric; the value means nothing unless it is kSuccess
  double value;
  const char* short_name;  // the library's own; null where it has none
  const char* long_name;
  const char* unit;
};
static_assert(sizeof(GpmMetric) == 40 && offsetof(GpmMetric, value) == 8);
static_assert(offsetof(GpmMetric, short_name) == 16);

// As many as the newest library has; older ones have fewer, and read `count` of them.
constexpr uint32_t kMostGpmMetrics = 333;

struct GpmMetricsGet {
  uint32_t version;
  uint32_t count;
  GpmSampleHandle first;
  GpmSampleHandle second;
  GpmMetric metrics[kMostGpmMetrics];
};
static_assert(sizeof(GpmMetricsGet) == 24 + 40 * kMostGpmMetrics);
static_assert(offsetof(GpmMetricsGet, first) == 8 && offsetof(GpmMetricsGet, metrics) == 24);
constexpr uint32_t kGpmMetricsVersion = 1;

}  // namespace lezea::nvml
