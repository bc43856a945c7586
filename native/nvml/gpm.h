// How much of a GPU's hardware worked between two samples of its performance counters (GPM: Hopper and later), of
// whole GPUs and of MIG instances. The counters are free-running; the library makes ratios of two samples.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "nvml/figures.h"
#include "nvml/library.h"

namespace lezea::nvml {

// A percentage of the library as parts per million; nothing for a failed one, or one that cannot be.
std::optional<uint32_t> parts_per_million(const GpmMetric& metric);

// Puts an answered metric where it belongs; those that failed leave their figure absent.
void apply_gpm_metric(const GpmMetric& metric, DeviceFigures& figures);

// The library's two buffers of one device, and when each was filled. Frees them; belongs to one generation, and must
// end before the library is closed.
class GpmSamples {
 public:
  explicit GpmSamples(Library& library) : library_(library) {}
  ~GpmSamples();
  GpmSamples(const GpmSamples&) = delete;
  GpmSamples& operator=(const GpmSamples&) = delete;

  struct Sample {
    GpmSampleHandle handle = nullptr;
    uint64_t t_ns = 0;  // 0: it holds none
  };
  // Both are there.
  bool allocate();
  Sample& older() { return samples_[1 - newest_]; }
  Sample& newest() { return samples_[newest_]; }
  void swap() { newest_ = 1 - newest_; }

 private:
  Library& library_;
  std::array<Sample, 2> samples_;
  size_t newest_ = 0;
};

// Whose counters are read: a GPU's, or those of one of its instances, by a number that a later one may have again.
struct GpmTarget {
  DeviceHandle gpu = nullptr;
  std::optional<GpuInstance> instance;
  DeviceHandle device = nullptr;  // of the two, the one that is meant: what is refused, is to it
};

class GpmReader {
 public:
  GpmReader(Library& library, const Clock& clock) : library_(library), clock_(clock) {}
  // Samples, and tells what was between this one and the last where that was long enough ago; never waits for it.
  // `samples` are made at the first call for a device that supports it. Two calls of the library.
  void read(const GpmTarget& target, std::unique_ptr<GpmSamples>& samples, DeviceFigures& figures);

 private:
  bool can_read(const GpmTarget& target) const;
  bool supports(const GpmTarget& target);
  bool sample(const GpmTarget& target, GpmSamples& samples);
  void compare(DeviceHandle device, GpmSamples& samples, DeviceFigures& figures);
  uint32_t list_wanted(DeviceHandle device);

  Library& library_;
  const Clock& clock_;
  GpmMetricsGet request_{};
};

}  // namespace lezea::nvml
