// The figures that come by field: which are asked for in one call, and what an answer means. Pure, but for the call.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "nvml/figures.h"
#include "nvml/library.h"

namespace lezea::nvml {

// A field's value as a whole number that is not negative; nothing for a failed field, a value of another kind, an
// unknown type, or the markers of "not available".
std::optional<uint64_t> whole_number(const FieldValue& value);

// Puts an answered field where it belongs; fields that failed leave their figure absent.
void apply_field(const FieldValue& value, DeviceFigures& figures);

// Reads all fields that this device has not refused with one call.
class FieldReader {
 public:
  FieldReader(Library& library, const Clock& clock) : library_(library), clock_(clock) {}
  Return read(DeviceHandle device, DeviceFigures& figures);

 private:
  Library& library_;
  const Clock& clock_;
  std::vector<FieldValue> batch_;
};

}  // namespace lezea::nvml
