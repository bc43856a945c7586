// The functions of NVML that the double has, answered from its machine. Each is entered with the machine's lock.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "nvml_double/entry.h"

namespace lezea::nvml_double {
namespace {

using namespace lezea::nvml;

Return put_text(const std::string& text, char* out, uint32_t size) {
  if (text.empty()) return Return::kNotSupported;
  if (text.size() + 1 > size) return Return::kInsufficientSize;
  std::memcpy(out, text.c_str(), text.size() + 1);
  return Return::kSuccess;
}

bool busy_now(const GpuState& state) {
  return !state.recently_busy.empty() && state.recently_busy.back();
}

uint64_t used_bytes(const Gpu& gpu, const MigInstance* mig, uint64_t t_ms) {
  uint64_t used = 0;
  for (const Process& process : gpu.processes) {
    if (!process.alive(t_ms) || process.memory_bytes == kNotAvailable64) continue;
    if (mig == nullptr || process.gpu_instance == mig->gpu_instance) used += process.memory_bytes;
  }
  return used;
}

void put_value(FieldValue& out, ValueType type, double value) {
  out.type = type;
  out.result = Return::kSuccess;
  out.value.u64 = 0;
  switch (type) {
    case ValueType::kDouble:
      out.value.f64 = value;
      break;
    case ValueType::kUnsignedInt:
      out.value.u32 = static_cast<uint32_t>(static_cast<uint64_t>(value));
      break;
    case ValueType::kUnsignedLong:
    case ValueType::kUnsignedLongLong:
      out.value.u64 = static_cast<uint64_t>(value);
      break;
    case ValueType::kSignedLongLong:
      out.value.i64 = static_cast<int64_t>(value);
      break;
    case ValueType::kSignedInt:
      out.value.i32 = static_cast<int32_t>(value);
      break;
    case ValueType::kUnsignedShort:
      out.value.u16 = static_cast<uint16_t>(value);
      break;
  }
}

void answer_field(const Entry& entry, FieldValue& out) {
  const Gpu& gpu = entry.gpu();
  const double seconds = static_cast<double>(Entry::machine().loaded_ms()) / 1000;
  out.latency_us = 7;
  // What a careless reader would take for a value.
  out.value.u64 = 0xdeadbeef;
  for (const Field& field : gpu.fields) {
    if (field.id != out.field || field.scope != out.scope) continue;
    if (Entry::machine().t_ms() >= field.end_ms) continue;
    out.result = field.result;
    if (field.result == Return::kSuccess) {
      put_value(out, field.type, field.base + field.per_second * seconds);
    }
    return;
  }
  const uint64_t milliwatts = busy_now(entry.state()) ? gpu.busy_milliwatts : gpu.idle_milliwatts;
  out.result = Return::kNotSupported;
  if (entry.is_mig()) return;
  if (out.field == field::kEnergyMillijoules && out.scope == 0) {
    put_value(out, ValueType::kUnsignedLongLong,
              static_cast<double>(entry.state().counted_energy_uj / 1000));
  } else if ((out.field == field::kPowerInstant || out.field == field::kPowerAverage) &&
             out.scope == field_scope::kGpu) {
    put_value(out, ValueType::kUnsignedInt, static_cast<double>(milliwatts));
  }
}

// The rows since `last_seen_us`: of each process the part of the samples that carry its pid, in percent.
struct Row {
  uint64_t timestamp_us = 0;
  uint32_t samples = 0;
};

std::map<uint32_t, Row> rows_since(const GpuState& state, uint64_t last_seen_us, uint32_t& all) {
  std::map<uint32_t, Row> rows;
  all = 0;
  for (const Sample& sample : state.samples) {
    const uint64_t at_us = Entry::machine().scenario().timestamp_base_us + sample.t_ms * 1000;
    if (at_us <= last_seen_us) continue;
    ++all;
    if (sample.pid == 0) continue;
    Row& row = rows[sample.pid];
    row.timestamp_us = at_us;
    ++row.samples;
  }
  return rows;
}

Return put_processes(const Entry& entry, bool (*belongs)(const Process&), size_t bytes,
                     uint32_t* count, void* out) {
  if (entry.failed()) return entry.failure();
  if (const auto needed = entry.shortage()) {
    *count = *needed;
    return Return::kInsufficientSize;
  }
  const uint64_t t_ms = Entry::machine().t_ms();
  uint32_t found = 0;
  for (const Process& process : entry.gpu().processes) {
    const bool here = !entry.is_mig() || process.gpu_instance == entry.target().mig->gpu_instance;
    if (!process.alive(t_ms) || !here || !belongs(process)) continue;
    ProcessInfoR535 info{process.pid, process.memory_bytes, process.gpu_instance,
                         process.compute_instance, 0};
    if (found < *count) std::memcpy(static_cast<char*>(out) + found * bytes, &info, bytes);
    ++found;
  }
  const bool fits = found <= *count;
  *count = found;
  return fits ? Return::kSuccess : Return::kInsufficientSize;
}

bool is_compute(const Process& process) { return process.compute; }
bool is_graphics(const Process& process) { return process.graphics; }
bool is_mps(const Process& process) { return process.mps; }

}  // namespace
}  // namespace lezea::nvml_double

using namespace lezea::nvml;
using lezea::nvml_double::Entry;
using lezea::nvml_double::Event;
using lezea::nvml_double::Machine;

NVML_EXPORT nvmlInit_v2() {
  if (Machine::get().needs_scenario()) {
    const char* const named = std::getenv("LEZEA_NVML_SCENARIO");
    const std::string path = named != nullptr ? named : lezea::nvml_double::file_beside("scenario");
    if (!path.empty()) Machine::get().load(path);
  }
  const Entry entry("nvmlInit_v2");
  return entry.failed() ? entry.failure() : Entry::machine().init();
}

NVML_EXPORT nvmlShutdown() {
  const Entry entry("nvmlShutdown");
  return entry.failed() ? entry.failure() : Entry::machine().shutdown();
}

NVML_EXPORT nvmlSystemGetDriverVersion(char* out, uint32_t size) {
  const Entry entry("nvmlSystemGetDriverVersion");
  if (entry.failed()) return entry.failure();
  return lezea::nvml_double::put_text(Entry::machine().scenario().driver_version, out, size);
}

NVML_EXPORT nvmlSystemGetNVMLVersion(char* out, uint32_t size) {
  const Entry entry("nvmlSystemGetNVMLVersion");
  if (entry.failed()) return entry.failure();
  return lezea::nvml_double::put_text(Entry::machine().scenario().nvml_version, out, size);
}

NVML_EXPORT nvmlSystemGetCudaDriverVersion_v2(int* out) {
  const Entry entry("nvmlSystemGetCudaDriverVersion_v2");
  if (entry.failed()) return entry.failure();
  *out = Entry::machine().scenario().cuda_version;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetCount_v2(uint32_t* out) {
  const Entry entry("nvmlDeviceGetCount_v2");
  if (entry.failed()) return entry.failure();
  *out = static_cast<uint32_t>(Entry::machine().scenario().gpus.size());
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetHandleByIndex_v2(uint32_t index, DeviceHandle* out) {
  const Entry entry("nvmlDeviceGetHandleByIndex_v2");
  if (entry.failed()) return entry.failure();
  if (index >= Entry::machine().scenario().gpus.size()) return Return::kInvalidArgument;
  *out = Entry::machine().handle(index, 0);
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetUUID(DeviceHandle device, char* out, uint32_t size) {
  ENTER("nvmlDeviceGetUUID");
  const std::string& uuid = entry.is_mig() ? entry.target().mig->uuid : entry.gpu().uuid;
  return lezea::nvml_double::put_text(uuid, out, size);
}

NVML_EXPORT nvmlDeviceGetName(DeviceHandle device, char* out, uint32_t size) {
  ENTER("nvmlDeviceGetName");
  return lezea::nvml_double::put_text(entry.gpu().name + (entry.is_mig() ? " MIG" : ""), out, size);
}

NVML_EXPORT nvmlDeviceGetSerial(DeviceHandle device, char* out, uint32_t size) {
  ENTER("nvmlDeviceGetSerial");
  return lezea::nvml_double::put_text(entry.is_mig() ? "" : entry.gpu().serial, out, size);
}

NVML_EXPORT nvmlDeviceGetVbiosVersion(DeviceHandle device, char* out, uint32_t size) {
  ENTER("nvmlDeviceGetVbiosVersion");
  return lezea::nvml_double::put_text(entry.is_mig() ? "" : entry.gpu().vbios, out, size);
}

NVML_EXPORT nvmlDeviceGetPciInfo_v3(DeviceHandle device, PciInfo* out) {
  ENTER("nvmlDeviceGetPciInfo_v3");
  if (entry.is_mig()) return Return::kNotSupported;
  *out = PciInfo();
  return lezea::nvml_double::put_text(entry.gpu().pci, out->bus_id, sizeof out->bus_id);
}

NVML_EXPORT nvmlDeviceGetMemoryInfo(DeviceHandle device, MemoryV1* out) {
  ENTER("nvmlDeviceGetMemoryInfo");
  const uint64_t used =
      lezea::nvml_double::used_bytes(entry.gpu(), entry.target().mig, Entry::machine().t_ms());
  out->total = entry.is_mig() ? entry.target().mig->memory_bytes : entry.gpu().memory_bytes;
  out->used = used + (entry.is_mig() ? 0 : entry.gpu().reserved_bytes);
  out->free = out->total - out->used;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetMemoryInfo_v2(DeviceHandle device, MemoryV2* out) {
  ENTER("nvmlDeviceGetMemoryInfo_v2");
  if (out->version != kMemoryV2Version) return Return::kArgumentVersionMismatch;
  out->total = entry.is_mig() ? entry.target().mig->memory_bytes : entry.gpu().memory_bytes;
  out->reserved = entry.is_mig() ? 0 : entry.gpu().reserved_bytes;
  out->used =
      lezea::nvml_double::used_bytes(entry.gpu(), entry.target().mig, Entry::machine().t_ms());
  out->free = out->total - out->reserved - out->used;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetUtilizationRates(DeviceHandle device, Utilization* out) {
  ENTER("nvmlDeviceGetUtilizationRates");
  if (entry.cut()) return Return::kNotSupported;
  const auto& window = entry.state().recently_busy;
  const auto busy = std::count(window.begin(), window.end(), true);
  out->gpu = window.empty() ? 0 : static_cast<uint32_t>(100 * busy / window.size());
  out->memory = out->gpu / 2;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetPersistenceMode(DeviceHandle device, uint32_t* out) {
  ENTER("nvmlDeviceGetPersistenceMode");
  if (entry.is_mig()) return Return::kNotSupported;
  *out = 1;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetMigMode(DeviceHandle device, uint32_t* current, uint32_t* pending) {
  ENTER("nvmlDeviceGetMigMode");
  if (entry.is_mig() || entry.gpu().max_mig == 0) return Return::kNotSupported;
  *current = *pending = entry.gpu().mig_enabled() ? 1 : 0;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetComputeMode(DeviceHandle device, ComputeMode* out) {
  ENTER("nvmlDeviceGetComputeMode");
  *out = ComputeMode::kDefault;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetPowerManagementLimit(DeviceHandle device, uint32_t* out) {
  ENTER("nvmlDeviceGetPowerManagementLimit");
  if (entry.is_mig()) return Return::kNotSupported;
  *out = static_cast<uint32_t>(entry.gpu().busy_milliwatts);
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetPowerManagementDefaultLimit(DeviceHandle device, uint32_t* out) {
  ENTER("nvmlDeviceGetPowerManagementDefaultLimit");
  if (entry.is_mig()) return Return::kNotSupported;
  *out = static_cast<uint32_t>(entry.gpu().busy_milliwatts);
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetPowerManagementLimitConstraints(DeviceHandle device, uint32_t* least,
                                                         uint32_t* most) {
  ENTER("nvmlDeviceGetPowerManagementLimitConstraints");
  if (entry.is_mig()) return Return::kNotSupported;
  *least = 200000;
  *most = static_cast<uint32_t>(entry.gpu().busy_milliwatts);
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetMaxClockInfo(DeviceHandle device, ClockDomain clock, uint32_t* out) {
  ENTER("nvmlDeviceGetMaxClockInfo");
  if (entry.is_mig()) return Return::kNotSupported;
  *out = clock == ClockDomain::kMemory ? 3201 : 1980;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetClockInfo(DeviceHandle device, ClockDomain clock, uint32_t* out) {
  ENTER("nvmlDeviceGetClockInfo");
  if (entry.is_mig()) return Return::kNotSupported;
  *out = clock == ClockDomain::kMemory                 ? 3201
         : lezea::nvml_double::busy_now(entry.state()) ? 1830
                                                       : 345;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetTemperature(DeviceHandle device, TemperatureSensor, uint32_t* out) {
  ENTER("nvmlDeviceGetTemperature");
  if (entry.is_mig()) return Return::kNotSupported;
  *out = entry.gpu().temperature_celsius;
  return Return::kSuccess;
}

// Passively cooled, as such modules are.
NVML_EXPORT nvmlDeviceGetFanSpeed(DeviceHandle device, uint32_t*) {
  ENTER("nvmlDeviceGetFanSpeed");
  return Return::kNotSupported;
}

// As deep in the stack as a driver may go.
NVML_EXPORT nvmlDeviceGetFieldValues(DeviceHandle device, int count, FieldValue* values) {
  ENTER("nvmlDeviceGetFieldValues");
  volatile char deep[1024 * 1024];
  for (size_t i = 0; i < sizeof deep; i += 4096) deep[i] = 0;
  for (int i = 0; i < count; ++i) lezea::nvml_double::answer_field(entry, values[i]);
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetMaxMigDeviceCount(DeviceHandle device, uint32_t* out) {
  ENTER("nvmlDeviceGetMaxMigDeviceCount");
  *out = entry.gpu().max_mig;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetMigDeviceHandleByIndex(DeviceHandle device, uint32_t index,
                                                DeviceHandle* out) {
  ENTER("nvmlDeviceGetMigDeviceHandleByIndex");
  const auto& mig = entry.gpu().mig;
  for (size_t i = 0; i < mig.size(); ++i) {
    if (mig[i].index != index || !mig[i].alive(Entry::machine().t_ms())) continue;
    const auto first = std::find_if(mig.begin(), mig.end(),
                                    [&](const auto& one) { return one.uuid == mig[i].uuid; });
    *out =
        Entry::machine().handle(entry.target().gpu, static_cast<uint32_t>(first - mig.begin() + 1));
    return Return::kSuccess;
  }
  return Return::kNotFound;
}

NVML_EXPORT nvmlDeviceGetGpuInstanceId(DeviceHandle device, uint32_t* out) {
  ENTER("nvmlDeviceGetGpuInstanceId");
  if (!entry.is_mig()) return Return::kNotSupported;
  *out = entry.target().mig->gpu_instance;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetComputeInstanceId(DeviceHandle device, uint32_t* out) {
  ENTER("nvmlDeviceGetComputeInstanceId");
  if (!entry.is_mig()) return Return::kNotSupported;
  *out = entry.target().mig->compute_instance;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetAttributes_v2(DeviceHandle device, DeviceAttributes* out) {
  ENTER("nvmlDeviceGetAttributes_v2");
  if (!entry.is_mig()) return Return::kNotSupported;
  *out = DeviceAttributes();
  out->gpu_instance_slices = entry.target().mig->slices;
  out->compute_instance_slices = entry.target().mig->compute_slices;
  out->memory_mib = entry.target().mig->memory_bytes / 1024 / 1024;
  return Return::kSuccess;
}

// The lists of processes: three kinds, three symbols of each.
#define PROCESS_LIST(symbol, belongs, bytes)                                                   \
  NVML_EXPORT symbol(DeviceHandle device, uint32_t* count, void* out) {                        \
    const Entry entry(#symbol, device);                                                        \
    return lezea::nvml_double::put_processes(entry, lezea::nvml_double::belongs, bytes, count, \
                                             out);                                             \
  }
#define V3_BYTES Entry::machine().scenario().process_info_bytes
PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses, is_compute, sizeof(ProcessInfoV1))
PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses_v2, is_compute, sizeof(ProcessInfoV2))
PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses_v3, is_compute, V3_BYTES)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses, is_graphics, sizeof(ProcessInfoV1))
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, is_graphics, sizeof(ProcessInfoV2))
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, is_graphics, V3_BYTES)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses, is_mps, sizeof(ProcessInfoV1))
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, is_mps, sizeof(ProcessInfoV2))
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, is_mps, V3_BYTES)

NVML_EXPORT nvmlDeviceGetProcessUtilization(DeviceHandle device, ProcessUtilizationSample* out,
                                            uint32_t* count, uint64_t last_seen_us) {
  ENTER("nvmlDeviceGetProcessUtilization");
  if (entry.cut()) return Return::kNotSupported;
  if (const auto needed = entry.shortage()) {
    *count = *needed;
    return Return::kInsufficientSize;
  }
  uint32_t all = 0;
  const auto rows = lezea::nvml_double::rows_since(entry.state(), last_seen_us, all);
  if (rows.empty()) return Return::kNotFound;
  if (rows.size() > *count) {
    *count = static_cast<uint32_t>(rows.size());
    return Return::kInsufficientSize;
  }
  *count = 0;
  for (const auto& [pid, row] : rows) {
    out[(*count)++] = {pid, row.timestamp_us, 100 * row.samples / all, 0, 0, 0};
  }
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetProcessesUtilizationInfo(DeviceHandle device,
                                                  ProcessesUtilizationInfoV1* info) {
  ENTER("nvmlDeviceGetProcessesUtilizationInfo");
  if (info->version != kProcessesUtilizationVersion) return Return::kArgumentVersionMismatch;
  if (entry.cut()) return Return::kNotSupported;
  if (const auto needed = entry.shortage()) {
    info->count = *needed;
    return Return::kInsufficientSize;
  }
  uint32_t all = 0;
  const auto rows = lezea::nvml_double::rows_since(entry.state(), info->last_seen_us, all);
  if (rows.empty()) return Return::kNotFound;
  const bool fits = rows.size() <= info->count;
  info->count = static_cast<uint32_t>(rows.size());
  if (!fits) return Return::kInsufficientSize;
  uint32_t i = 0;
  for (const auto& [pid, row] : rows) {
    info->rows[i++] = {row.timestamp_us, pid, 100 * row.samples / all, 0, 0, 0, 0, 0};
  }
  return Return::kSuccess;
}

// Named by the ABI's table of fingerprints; nobody calls them.
NVML_EXPORT nvmlDeviceGetConfComputeMemSizeInfo() { return Return::kNotSupported; }
NVML_EXPORT nvmlDeviceGetRunningProcessDetailList() { return Return::kNotSupported; }

NVML_EXPORT nvmlEventSetCreate(EventSetHandle* out) {
  const Entry entry("nvmlEventSetCreate");
  if (entry.failed()) return entry.failure();
  *out = reinterpret_cast<EventSetHandle>(uint64_t{1});
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceGetSupportedEventTypes(DeviceHandle device, uint64_t* out) {
  ENTER("nvmlDeviceGetSupportedEventTypes");
  *out = kEventXid;
  return Return::kSuccess;
}

NVML_EXPORT nvmlDeviceRegisterEvents(DeviceHandle device, uint64_t, EventSetHandle) {
  ENTER("nvmlDeviceRegisterEvents");
  Entry::machine().register_events();
  return Return::kSuccess;
}

NVML_EXPORT nvmlEventSetWait_v2(EventSetHandle, EventData* out, uint32_t timeout_ms) {
  Entry entry("nvmlEventSetWait_v2");
  if (entry.failed()) return entry.failure();
  Machine& machine = Entry::machine();
  Event event;
  bool taken = false;
  machine.wait(entry.lock(), timeout_ms,
               [&] { return (taken = machine.take_event(event)) || machine.released(); });
  if (!taken) return Return::kTimeout;
  *out = {machine.handle(event.gpu, 0), kEventXid, event.xid, kNotAvailable32, kNotAvailable32};
  return Return::kSuccess;
}

NVML_EXPORT nvmlEventSetFree(EventSetHandle) {
  const Entry entry("nvmlEventSetFree");
  if (entry.failed()) return entry.failure();
  Entry::machine().free_events();
  return Return::kSuccess;
}
