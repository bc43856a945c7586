// See gpm.h.
#include "nvml/gpm.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace lezea::nvml {
namespace {

// The driver refreshes its counters no more often: closer samples would say nothing.
constexpr uint64_t kLeastWindowNs = 100'000'000;
// The mean of a longer time is no figure of now.
constexpr uint64_t kLongestWindowNs = 60'000'000'000;
// Of rounding in the library; beyond that it is not a percentage.
constexpr double kMostPercent = 101;

constexpr uint32_t kWanted[] = {gpm_metric::kGraphicsActive, gpm_metric::kSmActive,
                                gpm_metric::kSmOccupancy, gpm_metric::kMemoryBandwidth};

// Beside the ids of functions and fields. Metrics begin at 1.
uint64_t question_of(uint32_t metric) { return (uint64_t{1} << 62) | metric; }
constexpr uint32_t kAnything = 0;

}  // namespace

std::optional<uint32_t> parts_per_million(const GpmMetric& metric) {
  // The comparison is false for what is not a number.
  if (metric.result != Return::kSuccess || !(metric.value >= 0 && metric.value <= kMostPercent)) {
    return std::nullopt;
  }
  return static_cast<uint32_t>(std::llround(std::min(metric.value, 100.0) * 10'000));
}

void apply_gpm_metric(const GpmMetric& metric, DeviceFigures& figures) {
  switch (metric.id) {
    case gpm_metric::kGraphicsActive:
      figures.gpm_graphics_active_ppm = parts_per_million(metric);
      break;
    case gpm_metric::kSmActive:
      figures.gpm_sm_active_ppm = parts_per_million(metric);
      break;
    case gpm_metric::kSmOccupancy:
      figures.gpm_sm_occupancy_ppm = parts_per_million(metric);
      break;
    case gpm_metric::kMemoryBandwidth:
      figures.gpm_memory_bandwidth_ppm = parts_per_million(metric);
      break;
  }
}

GpmSamples::~GpmSamples() {
  for (const Sample& sample : samples_) {
    if (sample.handle != nullptr) library_.call(function::kGpmSampleFree, sample.handle);
  }
}

bool GpmSamples::allocate() {
  for (Sample& sample : samples_) {
    if (library_.call(function::kGpmSampleAlloc, &sample.handle) != Return::kSuccess) {
      sample.handle = nullptr;
      return false;
    }
  }
  return true;
}

void GpmReader::read(const GpmTarget& target, std::unique_ptr<GpmSamples>& samples,
                     DeviceFigures& figures) {
  if (!can_read(target)) return;
  request_.count = list_wanted(target.device);
  if (request_.count == 0) return;
  if (samples == nullptr) {
    if (!supports(target)) return;
    auto made = std::make_unique<GpmSamples>(library_);
    if (!made->allocate()) return;
    samples = std::move(made);
  }
  if (sample(target, *samples)) compare(target.device, *samples, figures);
}

// With a part of them samples would be taken and never read, or made and never freed.
bool GpmReader::can_read(const GpmTarget& target) const {
  const FunctionId get = target.instance ? FunctionId::kGpmMigSampleGet : FunctionId::kGpmSampleGet;
  for (const FunctionId id : {FunctionId::kGpmSupport, FunctionId::kGpmSampleAlloc,
                              FunctionId::kGpmSampleFree, FunctionId::kGpmMetrics, get}) {
    if (!library_.has(id)) return false;
  }
  return !library_.refusals().standing({target.device, question_of(kAnything)},
                                       clock_.monotonic_ns());
}

// Asked once: that a device does not is kept as a refusal.
bool GpmReader::supports(const GpmTarget& target) {
  GpmSupport support{kGpmSupportVersion, 0};
  if (library_.call(function::kGpmSupport, target.gpu, &support) != Return::kSuccess) return false;
  if (support.supported != 0) return true;
  library_.refusals().note({target.device, question_of(kAnything)}, Return::kNotSupported,
                           clock_.monotonic_ns());
  return false;
}

// Puts into the request what this device has not refused.
uint32_t GpmReader::list_wanted(DeviceHandle device) {
  uint32_t count = 0;
  for (const uint32_t id : kWanted) {
    if (library_.refusals().standing({device, question_of(id)}, clock_.monotonic_ns())) continue;
    // An entry that the library does not touch must not look like a 0.
    request_.metrics[count] = GpmMetric{};
    request_.metrics[count].id = id;
    request_.metrics[count++].result = Return::kUnknown;
  }
  return count;
}

// True when there are two samples now, of which the newest is new.
bool GpmReader::sample(const GpmTarget& target, GpmSamples& samples) {
  const uint64_t now_ns = clock_.monotonic_ns();
  if (samples.newest().t_ns != 0 && now_ns - samples.newest().t_ns <= kLeastWindowNs) return false;
  GpmSamples::Sample& next = samples.older();
  next.t_ns = 0;
  const Return result =
      target.instance
          ? library_.call(function::kGpmMigSampleGet, target.gpu, *target.instance, next.handle)
          : library_.call(function::kGpmSampleGet, target.gpu, next.handle);
  if (result != Return::kSuccess) return false;
  next.t_ns = now_ns;
  samples.swap();
  const uint64_t before_ns = samples.older().t_ns;
  return before_ns != 0 && now_ns - before_ns <= kLongestWindowNs;
}

void GpmReader::compare(DeviceHandle device, GpmSamples& samples, DeviceFigures& figures) {
  request_.version = kGpmMetricsVersion;
  request_.first = samples.older().handle;
  request_.second = samples.newest().handle;
  const Return result = library_.call(function::kGpmMetrics, &request_);
  const uint64_t now_ns = clock_.monotonic_ns();
  library_.refusals().note({device, question_of(kAnything)}, result, now_ns);
  if (result != Return::kSuccess) return;
  figures.gpm_from_ns = samples.older().t_ns;
  figures.gpm_to_ns = samples.newest().t_ns;
  for (uint32_t i = 0; i < request_.count; ++i) {
    const GpmMetric& metric = request_.metrics[i];
    library_.refusals().note({device, question_of(metric.id)}, metric.result, now_ns);
    apply_gpm_metric(metric, figures);
  }
}

}  // namespace lezea::nvml
