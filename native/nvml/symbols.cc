// The table of symbols; see functions.h.
#include "nvml/functions.h"

namespace lezea::nvml {
namespace {

// In the order of FunctionId.
constexpr SymbolNames kSymbols[] = {
    {"nvmlInit_v2"},
    {"nvmlShutdown"},
    {"nvmlSystemGetDriverVersion"},
    {"nvmlSystemGetNVMLVersion"},
    {"nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"},
    {"nvmlDeviceGetCount_v2"},
    {"nvmlDeviceGetHandleByIndex_v2"},
    {"nvmlDeviceGetName"},
    {"nvmlDeviceGetUUID"},
    {"nvmlDeviceGetSerial"},
    {"nvmlDeviceGetVbiosVersion"},
    {"nvmlDeviceGetPciInfo_v3"},
    {"nvmlDeviceGetMemoryInfo"},
    {"nvmlDeviceGetMemoryInfo_v2"},
    {"nvmlDeviceGetUtilizationRates"},
    {"nvmlDeviceGetPersistenceMode"},
    {"nvmlDeviceGetMigMode"},
    {"nvmlDeviceGetComputeMode"},
    {"nvmlDeviceGetPowerManagementLimit"},
    {"nvmlDeviceGetPowerManagementDefaultLimit"},
    {"nvmlDeviceGetPowerManagementLimitConstraints"},
    {"nvmlDeviceGetMaxClockInfo"},
    {"nvmlDeviceGetClockInfo"},
    {"nvmlDeviceGetTemperature"},
    {"nvmlDeviceGetFanSpeed"},
    {"nvmlDeviceGetFieldValues"},
    {"nvmlDeviceGetMaxMigDeviceCount"},
    {"nvmlDeviceGetMigDeviceHandleByIndex"},
    {"nvmlDeviceGetGpuInstanceId"},
    {"nvmlDeviceGetComputeInstanceId"},
    {"nvmlDeviceGetAttributes_v2"},
    {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2",
     "nvmlDeviceGetComputeRunningProcesses"},
    {"nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2",
     "nvmlDeviceGetGraphicsRunningProcesses"},
    {"nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v2",
     "nvmlDeviceGetMPSComputeRunningProcesses"},
    {"nvmlDeviceGetProcessUtilization"},
    {"nvmlDeviceGetProcessesUtilizationInfo"},
    {"nvmlEventSetCreate"},
    {"nvmlDeviceGetSupportedEventTypes"},
    {"nvmlDeviceRegisterEvents"},
    {"nvmlEventSetWait_v2"},
    {"nvmlEventSetFree"},
    {"nvmlGpmQueryDeviceSupport"},
    {"nvmlGpmSampleAlloc"},
    {"nvmlGpmSampleFree"},
    {"nvmlGpmSampleGet"},
    {"nvmlGpmMigSampleGet"},
    {"nvmlGpmMetricsGet"},
};
static_assert(sizeof kSymbols / sizeof kSymbols[0] == kFunctionCount);

}  // namespace

const SymbolNames& symbols_of(FunctionId id) { return kSymbols[static_cast<size_t>(id)]; }

}  // namespace lezea::nvml
