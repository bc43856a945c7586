// See errors.h.
#include "nvml/errors.h"

namespace lezea::nvml {

const char* text(Return code) {
  switch (code) {
    case Return::kSuccess:
      return "success";
    case Return::kUninitialized:
      return "library is not initialised";
    case Return::kInvalidArgument:
      return "invalid argument";
    case Return::kNotSupported:
      return "not supported";
    case Return::kNoPermission:
      return "no permission";
    case Return::kAlreadyInitialized:
      return "already initialised";
    case Return::kNotFound:
      return "not found";
    case Return::kInsufficientSize:
      return "buffer is too small";
    case Return::kInsufficientPower:
      return "a power cable is not attached";
    case Return::kDriverNotLoaded:
      return "driver is not loaded";
    case Return::kTimeout:
      return "timed out";
    case Return::kIrqIssue:
      return "interrupts do not arrive";
    case Return::kLibraryNotFound:
      return "library not found";
    case Return::kFunctionNotFound:
      return "function is not in this library";
    case Return::kCorruptedInforom:
      return "the device's infoROM is corrupt";
    case Return::kGpuIsLost:
      return "GPU is lost";
    case Return::kResetRequired:
      return "GPU needs a reset";
    case Return::kOperatingSystem:
      return "the operating system refused";
    case Return::kLibRmVersionMismatch:
      return "library and driver are of different versions";
    case Return::kInUse:
      return "GPU is in use";
    case Return::kMemory:
      return "out of memory";
    case Return::kNoData:
      return "no data";
    case Return::kArgumentVersionMismatch:
      return "structure of another version";
    case Return::kDeprecated:
      return "deprecated";
    case Return::kNotReady:
      return "not ready";
    case Return::kGpuNotFound:
      return "no GPU";
    case Return::kInvalidState:
      return "invalid state";
    case Return::kUnknown:
      return "unknown error";
  }
  return "a return code of a later library";
}

bool ends_generation(Return code) {
  return code == Return::kUninitialized || code == Return::kDriverNotLoaded ||
         code == Return::kLibRmVersionMismatch;
}

bool loses_device(Return code) {
  return code == Return::kGpuIsLost || code == Return::kResetRequired;
}

bool is_permanent(Return code) {
  return code == Return::kNotSupported || code == Return::kFunctionNotFound ||
         code == Return::kArgumentVersionMismatch || code == Return::kDeprecated;
}

bool is_passing(Return code) { return code == Return::kNoPermission || code == Return::kUnknown; }

}  // namespace lezea::nvml
