// GPM of the double: samples of what each GPU and instance did, and percentages of two of them.
#include <algorithm>

#include "nvml_double/entry.h"

namespace lezea::nvml_double {
namespace {

// Of the time between two samples, as the library has it: percent.
double percent_of(const GpmSample& first, const GpmSample& second, uint64_t Activity::* counter) {
  const auto window_us = static_cast<double>(second.t_ms - first.t_ms) * 1000;
  return 100 * static_cast<double>(second.activity.*counter - first.activity.*counter) / window_us;
}

Return answer_metric(const GpmSample& first, const GpmSample& second, GpmMetric& metric) {
  if (metric.id == Entry::machine().scenario().gpus[second.gpu].no_gpm_metric) {
    return Return::kNotSupported;
  }
  switch (metric.id) {
    case gpm_metric::kGraphicsActive:
      metric.value = percent_of(first, second, &Activity::busy_us);
      break;
    case gpm_metric::kSmActive:
      metric.value = percent_of(first, second, &Activity::sm_us);
      break;
    case gpm_metric::kSmOccupancy:
      metric.value = percent_of(first, second, &Activity::occupancy_us);
      break;
    case gpm_metric::kMemoryBandwidth:
      metric.value = percent_of(first, second, &Activity::bandwidth_us);
      break;
    default:
      return Return::kNotSupported;
  }
  return Return::kSuccess;
}

Return fill(const Entry& entry, GpmSampleHandle handle, const Activity& activity) {
  GpmSample* const sample = Entry::machine().gpm_sample(handle);
  if (sample == nullptr) return Return::kInvalidArgument;
  *sample = {true, entry.target().gpu, entry.state().sampled_ms, activity};
  return Return::kSuccess;
}

}  // namespace
}  // namespace lezea::nvml_double

using namespace lezea::nvml;
using lezea::nvml_double::Entry;
using lezea::nvml_double::GpmSample;

NVML_EXPORT nvmlGpmQueryDeviceSupport(DeviceHandle device, GpmSupport* out) {
  ENTER("nvmlGpmQueryDeviceSupport");
  if (out->version != kGpmSupportVersion) return Return::kArgumentVersionMismatch;
  out->supported = entry.gpu().gpm ? 1 : 0;
  return Return::kSuccess;
}

NVML_EXPORT nvmlGpmSampleAlloc(GpmSampleHandle* out) {
  const Entry entry("nvmlGpmSampleAlloc");
  if (entry.failed()) return entry.failure();
  *out = Entry::machine().allocate_gpm_sample();
  return Return::kSuccess;
}

// It is the process's own memory, whatever became of the driver.
NVML_EXPORT nvmlGpmSampleFree(GpmSampleHandle sample) {
  const Entry entry("nvmlGpmSampleFree");
  return Entry::machine().free_gpm_sample(sample) ? Return::kSuccess : Return::kInvalidArgument;
}

NVML_EXPORT nvmlGpmSampleGet(DeviceHandle device, GpmSampleHandle sample) {
  ENTER("nvmlGpmSampleGet");
  if (!entry.gpu().gpm || entry.cut()) return Return::kNotSupported;
  return lezea::nvml_double::fill(entry, sample, entry.state().sampled);
}

NVML_EXPORT nvmlGpmMigSampleGet(DeviceHandle device, GpuInstance instance, GpmSampleHandle sample) {
  ENTER("nvmlGpmMigSampleGet");
  if (!entry.gpu().gpm || entry.is_mig()) return Return::kNotSupported;
  const auto number = static_cast<uint32_t>(instance);
  const auto& mig = entry.gpu().mig;
  const bool alive = std::any_of(mig.begin(), mig.end(), [&](const auto& one) {
    return one.gpu_instance == number && one.alive(Entry::machine().t_ms());
  });
  if (!alive) return Return::kInvalidArgument;
  const auto& sampled = entry.state().instance_sampled;
  const auto found = sampled.find(number);
  return lezea::nvml_double::fill(
      entry, sample, found == sampled.end() ? lezea::nvml_double::Activity() : found->second);
}

NVML_EXPORT nvmlGpmMetricsGet(GpmMetricsGet* request) {
  const Entry entry("nvmlGpmMetricsGet");
  if (entry.failed()) return entry.failure();
  if (request->version != kGpmMetricsVersion) return Return::kArgumentVersionMismatch;
  const GpmSample* const first = Entry::machine().gpm_sample(request->first);
  const GpmSample* const second = Entry::machine().gpm_sample(request->second);
  if (first == nullptr || second == nullptr || !first->filled || !second->filled) {
    return Return::kInvalidArgument;
  }
  for (uint32_t i = 0; i < request->count; ++i) {
    GpmMetric& metric = request->metrics[i];
    metric.result = lezea::nvml_double::answer_metric(*first, *second, metric);
  }
  return Return::kSuccess;
}
