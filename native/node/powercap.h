// The energy counters of the processors and their memory: the RAPL zones of <sys>/class/powercap.
//
// A zone "package-N" (with several dies "package-N-die-M") is all that the package draws: its "core" and
// "uncore" zones are part of it and are left out. A "dram" zone inside of it is the memory that hangs on it, and
// is in no package's figure. "psys" is the whole platform, packages included: left out. intel-rapl-mmio:N are
// the same packages told by another way: left out. AMD's zones have the same names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace lezea {

struct PowercapZone {
  std::string folder;     // "intel-rapl:0"
  std::string kind;       // "package" or "dram"
  std::string index;      // "0" of package-0; drams are counted
  uint64_t range_uj = 0;  // the counter begins anew after this
};

// Where each zone's counter stood.
struct EnergyMark {
  uint64_t t_ns = 0;                // CLOCK_MONOTONIC
  std::vector<uint64_t> energy_uj;  // as the zones
};

class Powercap {
 public:
  Powercap() = default;
  explicit Powercap(const std::string& sys_root);

  // Those whose counters could be read when this was made.
  const std::vector<PowercapZone>& zones() const { return zones_; }
  // Where there is none: what was seen. kGone: no such zones on this machine.
  ReadStatus status() const { return status_; }
  std::string path(const PowercapZone& zone) const;

  // Cumulative µJ, arbitrary zero. Source: energy_uj.
  Result<uint64_t> energy_uj(const PowercapZone& zone) const;
  // Every zone; nothing where one of them cannot be read.
  std::optional<EnergyMark> mark(uint64_t t_ns) const;
  // What all zones used from one mark to the next, µJ; nothing where that of one is not known.
  std::optional<uint64_t> between(const EnergyMark& before, const EnergyMark& now) const;

  // A mark for another agent of the same boot; its bytes are refused where the zones are others.
  void encode(const EnergyMark& mark, ByteWriter& out) const;
  std::optional<EnergyMark> decode(ByteReader& in) const;

 private:
  std::string folder_;
  std::vector<PowercapZone> zones_;
  ReadStatus status_ = ReadStatus::kGone;
};

// How much a counter of this range has grown in this time, µJ. Nothing where it may have begun anew more than
// once, or has grown by more than any package draws: then it was set back (at a resume from suspend, say).
std::optional<uint64_t> energy_increase(uint64_t before_uj, uint64_t now_uj, uint64_t range_uj,
                                        uint64_t elapsed_ns);

// How many CPUs a list such as "0-3,8" of <sys>/devices/system/cpu/online names.
Result<uint32_t> parse_cpu_list(std::string_view text);
Result<uint32_t> online_cpus(const std::string& sys_root);

}  // namespace lezea
