// The energy of the CPU from one reading to the next, with the CPU time that there was to use meanwhile. Reads
// the powercap zones and the list of online CPUs; owns the last mark. Used by the sampling thread only.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "node/powercap.h"

namespace lezea {

struct EnergyInterval {
  uint64_t energy_uj = 0;
  uint64_t capacity_ns = 0;  // wall time × online CPUs
};

class EnergyMeter {
 public:
  EnergyMeter(std::string sys_root, Powercap powercap)
      : sys_root_(std::move(sys_root)), powercap_(std::move(powercap)) {}

  // The interval since the last reading, which this one ends. Nothing at the first, or where what was used in
  // it is not known.
  std::optional<EnergyInterval> read(uint64_t t_ns) {
    const Result<uint32_t> cpus = online_cpus(sys_root_);
    const std::optional<EnergyMark> before = std::exchange(mark_, powercap_.mark(t_ns));
    const uint32_t cpus_before = std::exchange(cpus_, cpus.value);
    if (!cpus.ok()) mark_.reset();
    if (!before || !mark_) return std::nullopt;
    const std::optional<uint64_t> energy_uj = powercap_.between(*before, *mark_);
    if (!energy_uj) return std::nullopt;
    return EnergyInterval{*energy_uj, (t_ns - before->t_ns) * std::max(cpus_, cpus_before)};
  }
  // The next reading begins an interval and ends none.
  void forget() { mark_.reset(); }

  void encode(ByteWriter& out) const {
    out.u8(mark_ ? 1 : 0);
    if (mark_) powercap_.encode(*mark_, out);
  }
  // The newest of those that are given back counts: a run that stood still was not stored again.
  void decode(ByteReader& in) {
    if (in.u8() == 0) return;
    const std::optional<EnergyMark> mark = powercap_.decode(in);
    if (mark && (!mark_ || mark->t_ns > mark_->t_ns)) mark_ = mark;
  }

 private:
  std::string sys_root_;
  Powercap powercap_;
  std::optional<EnergyMark> mark_;
  uint32_t cpus_ = 0;
};

}  // namespace lezea
