// See fields.h.
#include "nvml/fields.h"

#include <cmath>

namespace lezea::nvml {
namespace {

struct Wanted {
  uint32_t field;
  uint32_t scope;
};

// Links of NVLink 5 have counters of bytes; the earlier ones of KiB come first, so that bytes replace them.
constexpr Wanted kWanted[] = {
    {field::kEnergyMillijoules, 0},
    {field::kPowerInstant, field_scope::kGpu},
    {field::kPowerAverage, field_scope::kGpu},
    {field::kPowerInstant, field_scope::kModule},
    {field::kPowerAverage, field_scope::kModule},
    {field::kMemoryTemperature, 0},
    {field::kNvlinkTransmittedKib, field_scope::kAllLinks},
    {field::kNvlinkReceivedKib, field_scope::kAllLinks},
    {field::kNvlinkTransmittedBytes, field_scope::kAllLinks},
    {field::kNvlinkReceivedBytes, field_scope::kAllLinks},
    {field::kPcieTransmittedBytes, 0},
    {field::kPcieReceivedBytes, 0},
    {field::kThrottlePowerNs, 0},
    {field::kThrottleSoftwareThermalNs, 0},
    {field::kThrottleHardwareThermalNs, 0},
    {field::kThrottlePowerBrakeNs, 0},
    {field::kEccCorrectedVolatile, 0},
    {field::kEccUncorrectedVolatile, 0},
    {field::kRemappedCorrectable, 0},
    {field::kRemappedUncorrectable, 0},
    {field::kRemappedPending, 0},
    {field::kRemappedFailure, 0},
    {field::kRecoveryAction, 0},
};

// Beside the questions of functions, which are below 2^48.
uint64_t question_of(uint32_t field, uint32_t scope) {
  return (uint64_t{1} << 63) | (static_cast<uint64_t>(field) << 32) | scope;
}

// An older library answers a field that it does not know with "invalid argument".
Return lasting(Return result) {
  return result == Return::kInvalidArgument ? Return::kNotSupported : result;
}

std::optional<uint64_t> scaled(std::optional<uint64_t> number, uint64_t factor) {
  if (!number || *number > ~0ULL / factor) return std::nullopt;
  return *number * factor;
}

std::optional<uint32_t> narrow(std::optional<uint64_t> number) {
  if (!number || *number >= kNotAvailable32) return std::nullopt;
  return static_cast<uint32_t>(*number);
}

std::optional<bool> flag(std::optional<uint64_t> number) {
  if (!number) return std::nullopt;
  return *number != 0;
}

// Of a counter of bytes that must not wrap between two readings.
std::optional<uint64_t> unwrapped(const FieldValue& value) {
  const bool wide =
      value.type == ValueType::kUnsignedLong || value.type == ValueType::kUnsignedLongLong;
  return wide ? whole_number(value) : std::nullopt;
}

void apply_power(const FieldValue& value, DeviceFigures& figures) {
  const bool instant = value.field == field::kPowerInstant;
  if (value.scope == field_scope::kGpu) {
    (instant ? figures.power_instant_milliwatts : figures.power_average_milliwatts) =
        narrow(whole_number(value));
  } else if (value.scope == field_scope::kModule) {
    (instant ? figures.module_power_instant_milliwatts : figures.module_power_average_milliwatts) =
        narrow(whole_number(value));
  }
}

void apply_health(const FieldValue& value, DeviceFigures& figures) {
  const std::optional<uint64_t> number = whole_number(value);
  switch (value.field) {
    case field::kMemoryTemperature:
      figures.memory_temperature_celsius = narrow(number);
      break;
    case field::kEccCorrectedVolatile:
      figures.ecc_corrected = number;
      break;
    case field::kEccUncorrectedVolatile:
      figures.ecc_uncorrected = number;
      break;
    case field::kRemappedCorrectable:
      figures.remapped_correctable_rows = narrow(number);
      break;
    case field::kRemappedUncorrectable:
      figures.remapped_uncorrectable_rows = narrow(number);
      break;
    case field::kRemappedPending:
      figures.remapping_pending = flag(number);
      break;
    case field::kRemappedFailure:
      figures.remapping_failed = flag(number);
      break;
    case field::kRecoveryAction:
      figures.recovery_action = narrow(number);
      break;
  }
}

void apply_counter(const FieldValue& value, DeviceFigures& figures) {
  switch (value.field) {
    case field::kNvlinkTransmittedKib:
      figures.nvlink_transmitted_bytes = scaled(whole_number(value), 1024);
      break;
    case field::kNvlinkReceivedKib:
      figures.nvlink_received_bytes = scaled(whole_number(value), 1024);
      break;
    case field::kNvlinkTransmittedBytes:
      figures.nvlink_transmitted_bytes = whole_number(value);
      break;
    case field::kNvlinkReceivedBytes:
      figures.nvlink_received_bytes = whole_number(value);
      break;
    case field::kPcieTransmittedBytes:
      figures.pcie_transmitted_bytes = unwrapped(value);
      break;
    case field::kPcieReceivedBytes:
      figures.pcie_received_bytes = unwrapped(value);
      break;
    case field::kThrottlePowerNs:
      figures.throttle_power_ns = whole_number(value);
      break;
    case field::kThrottleSoftwareThermalNs:
      figures.throttle_software_thermal_ns = whole_number(value);
      break;
    case field::kThrottleHardwareThermalNs:
      figures.throttle_hardware_thermal_ns = whole_number(value);
      break;
    case field::kThrottlePowerBrakeNs:
      figures.throttle_power_brake_ns = whole_number(value);
      break;
  }
}

}  // namespace

std::optional<uint64_t> whole_number(const FieldValue& value) {
  if (value.result != Return::kSuccess) return std::nullopt;
  switch (value.type) {
    case ValueType::kDouble:
      // The comparison is false for what is not a number.
      if (!(value.value.f64 >= 0 && value.value.f64 < 9e18)) return std::nullopt;
      return static_cast<uint64_t>(std::llround(value.value.f64));
    case ValueType::kUnsignedInt:
      if (value.value.u32 == kNotAvailable32) return std::nullopt;
      return value.value.u32;
    case ValueType::kUnsignedLong:
    case ValueType::kUnsignedLongLong:
      if (value.value.u64 == kNotAvailable64) return std::nullopt;
      return value.value.u64;
    case ValueType::kSignedLongLong:
      if (value.value.i64 < 0) return std::nullopt;
      return static_cast<uint64_t>(value.value.i64);
    case ValueType::kSignedInt:
      if (value.value.i32 < 0) return std::nullopt;
      return static_cast<uint64_t>(value.value.i32);
    case ValueType::kUnsignedShort:
      return value.value.u16;
  }
  return std::nullopt;
}

void apply_field(const FieldValue& value, DeviceFigures& figures) {
  if (!whole_number(value)) return;
  if (value.field == field::kEnergyMillijoules) {
    figures.energy_uj = scaled(whole_number(value), 1000);
  } else if (value.field == field::kPowerInstant || value.field == field::kPowerAverage) {
    apply_power(value, figures);
  } else {
    apply_health(value, figures);
    apply_counter(value, figures);
  }
}

Return FieldReader::read(DeviceHandle device, DeviceFigures& figures) {
  const uint64_t now_ns = clock_.monotonic_ns();
  batch_.clear();
  for (const Wanted& wanted : kWanted) {
    const Question question{device, question_of(wanted.field, wanted.scope)};
    if (library_.refusals().standing(question, now_ns)) continue;
    // All zero but for these: the scope of a field that has none must be 0.
    FieldValue value{};
    value.field = wanted.field;
    value.scope = wanted.scope;
    // An entry that the library does not touch must not look like a 0.
    value.result = Return::kUnknown;
    batch_.push_back(value);
  }
  if (batch_.empty()) return Return::kSuccess;
  const Return result =
      library_.call(function::kFieldValues, device, static_cast<int>(batch_.size()), batch_.data());
  if (result != Return::kSuccess) return result;
  for (const FieldValue& value : batch_) {
    const Question question{device, question_of(value.field, value.scope)};
    library_.refusals().note(question, lasting(value.result), now_ns);
    if (value.result == Return::kSuccess) apply_field(value, figures);
  }
  return result;
}

}  // namespace lezea::nvml
