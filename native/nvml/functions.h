// The functions of NVML that the agent calls: an id, its arguments' types, and the symbols it may be bound to,
// newest first (symbols.cc). Symbols whose structures differ are functions of their own, but for the process
// lists, whose layout the library's fingerprint tells.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "nvml/nvml_abi.h"

namespace lezea::nvml {

enum class FunctionId : uint8_t {
  kInit,
  kShutdown,
  kDriverVersion,
  kNvmlVersion,
  kCudaVersion,
  kDeviceCount,
  kDeviceByIndex,
  kName,
  kUuid,
  kSerial,
  kVbios,
  kPciInfo,
  kMemoryV1,
  kMemoryV2,
  kUtilization,
  kPersistenceMode,
  kMigMode,
  kComputeMode,
  kPowerLimit,
  kDefaultPowerLimit,
  kPowerLimitRange,
  kMaxClock,
  kClock,
  kTemperature,
  kFanSpeed,
  kFieldValues,
  kMaxMigDevices,
  kMigDeviceByIndex,
  kGpuInstanceId,
  kComputeInstanceId,
  kAttributes,
  kComputeProcesses,
  kGraphicsProcesses,
  kMpsProcesses,
  kProcessUtilization,
  kProcessesUtilization,
  kEventSetCreate,
  kSupportedEvents,
  kRegisterEvents,
  kEventSetWait,
  kEventSetFree,
  kGpmSupport,
  kGpmSampleAlloc,
  kGpmSampleFree,
  kGpmSampleGet,
  kGpmMigSampleGet,
  kGpmMetrics,
  kCount,
};
constexpr size_t kFunctionCount = static_cast<size_t>(FunctionId::kCount);

constexpr size_t kMostSymbols = 3;
using SymbolNames = std::array<const char*, kMostSymbols>;  // newest first; null past the last
const SymbolNames& symbols_of(FunctionId id);

template <class... Arguments>
struct Function {
  FunctionId id;
};

namespace function {
constexpr Function<char*, uint32_t> kDriverVersion{FunctionId::kDriverVersion};
constexpr Function<char*, uint32_t> kNvmlVersion{FunctionId::kNvmlVersion};
constexpr Function<int*> kCudaVersion{FunctionId::kCudaVersion};
constexpr Function<uint32_t*> kDeviceCount{FunctionId::kDeviceCount};
constexpr Function<uint32_t, DeviceHandle*> kDeviceByIndex{FunctionId::kDeviceByIndex};
constexpr Function<DeviceHandle, char*, uint32_t> kName{FunctionId::kName};
constexpr Function<DeviceHandle, char*, uint32_t> kUuid{FunctionId::kUuid};
constexpr Function<DeviceHandle, char*, uint32_t> kSerial{FunctionId::kSerial};
constexpr Function<DeviceHandle, char*, uint32_t> kVbios{FunctionId::kVbios};
constexpr Function<DeviceHandle, PciInfo*> kPciInfo{FunctionId::kPciInfo};
constexpr Function<DeviceHandle, MemoryV1*> kMemoryV1{FunctionId::kMemoryV1};
constexpr Function<DeviceHandle, MemoryV2*> kMemoryV2{FunctionId::kMemoryV2};
constexpr Function<DeviceHandle, Utilization*> kUtilization{FunctionId::kUtilization};
constexpr Function<DeviceHandle, uint32_t*> kPersistenceMode{FunctionId::kPersistenceMode};
constexpr Function<DeviceHandle, uint32_t*, uint32_t*> kMigMode{FunctionId::kMigMode};
constexpr Function<DeviceHandle, ComputeMode*> kComputeMode{FunctionId::kComputeMode};
constexpr Function<DeviceHandle, uint32_t*> kPowerLimit{FunctionId::kPowerLimit};
constexpr Function<DeviceHandle, uint32_t*> kDefaultPowerLimit{FunctionId::kDefaultPowerLimit};
constexpr Function<DeviceHandle, uint32_t*, uint32_t*> kPowerLimitRange{
    FunctionId::kPowerLimitRange};
constexpr Function<DeviceHandle, ClockDomain, uint32_t*> kMaxClock{FunctionId::kMaxClock};
constexpr Function<DeviceHandle, ClockDomain, uint32_t*> kClock{FunctionId::kClock};
constexpr Function<DeviceHandle, TemperatureSensor, uint32_t*> kTemperature{
    FunctionId::kTemperature};
constexpr Function<DeviceHandle, uint32_t*> kFanSpeed{FunctionId::kFanSpeed};
constexpr Function<DeviceHandle, int, FieldValue*> kFieldValues{FunctionId::kFieldValues};
constexpr Function<DeviceHandle, uint32_t*> kMaxMigDevices{FunctionId::kMaxMigDevices};
constexpr Function<DeviceHandle, uint32_t, DeviceHandle*> kMigDeviceByIndex{
    FunctionId::kMigDeviceByIndex};
constexpr Function<DeviceHandle, uint32_t*> kGpuInstanceId{FunctionId::kGpuInstanceId};
constexpr Function<DeviceHandle, uint32_t*> kComputeInstanceId{FunctionId::kComputeInstanceId};
constexpr Function<DeviceHandle, DeviceAttributes*> kAttributes{FunctionId::kAttributes};
// The last argument is an array in the layout of Library::process_info_bytes().
constexpr Function<DeviceHandle, uint32_t*, void*> kComputeProcesses{FunctionId::kComputeProcesses};
constexpr Function<DeviceHandle, uint32_t*, void*> kGraphicsProcesses{
    FunctionId::kGraphicsProcesses};
constexpr Function<DeviceHandle, uint32_t*, void*> kMpsProcesses{FunctionId::kMpsProcesses};
constexpr Function<DeviceHandle, ProcessUtilizationSample*, uint32_t*, uint64_t>
    kProcessUtilization{FunctionId::kProcessUtilization};
constexpr Function<DeviceHandle, ProcessesUtilizationInfoV1*> kProcessesUtilization{
    FunctionId::kProcessesUtilization};
constexpr Function<EventSetHandle*> kEventSetCreate{FunctionId::kEventSetCreate};
constexpr Function<DeviceHandle, uint64_t*> kSupportedEvents{FunctionId::kSupportedEvents};
constexpr Function<DeviceHandle, uint64_t, EventSetHandle> kRegisterEvents{
    FunctionId::kRegisterEvents};
constexpr Function<EventSetHandle, EventData*, uint32_t> kEventSetWait{FunctionId::kEventSetWait};
constexpr Function<EventSetHandle> kEventSetFree{FunctionId::kEventSetFree};
constexpr Function<DeviceHandle, GpmSupport*> kGpmSupport{FunctionId::kGpmSupport};
constexpr Function<GpmSampleHandle*> kGpmSampleAlloc{FunctionId::kGpmSampleAlloc};
constexpr Function<GpmSampleHandle> kGpmSampleFree{FunctionId::kGpmSampleFree};
constexpr Function<DeviceHandle, GpmSampleHandle> kGpmSampleGet{FunctionId::kGpmSampleGet};
constexpr Function<DeviceHandle, GpuInstance, GpmSampleHandle> kGpmMigSampleGet{
    FunctionId::kGpmMigSampleGet};
constexpr Function<GpmMetricsGet*> kGpmMetrics{FunctionId::kGpmMetrics};
}  // namespace function

}  // namespace lezea::nvml
