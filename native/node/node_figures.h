// The machine's own figures, from a /proc and a /sys root: CPU, memory, load, pressure, disks,
// network, energy of the CPU. Emits NodeFigures with node_exporter's names and meaning, without its prefix.
// A file that is missing or malformed gives no figures and marks its collector, never a 0.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "node/powercap.h"

namespace lezea {

struct NodeFigure {
  std::string name;  // "cpu_seconds_total"; the unit is in it
  std::vector<std::pair<std::string, std::string>> labels;
  double value = 0;
  bool counter = false;  // cumulative since boot; else a gauge
};

struct NodeCollector {
  std::string name;  // "stat", "meminfo", "loadavg", "pressure", "diskstats", "netdev"
  bool ok = false;   // at the last read()
};

class NodeReader {
 public:
  // `energy`: the RAPL counters are read too, where they can be.
  NodeReader(std::string proc_root, std::string sys_root, bool energy = true);

  // Reads every file anew.
  std::vector<NodeFigure> read();
  // How each collector fared in the last read(); all not ok before the first.
  const std::vector<NodeCollector>& collectors() const { return collectors_; }

 private:
  std::string proc_root_;
  std::string sys_root_;
  std::vector<NodeCollector> collectors_;
  // Last published cpu_seconds_total by "cpu/mode": counters must not run backwards.
  std::map<std::string, double> last_cpu_;
  // By zone, in Powercap's order: its counter, which begins anew, and what it would be if it did not.
  struct Energy {
    uint64_t t_ns = 0;
    uint64_t counter_uj = 0;
    uint64_t total_uj = 0;
  };
  Powercap powercap_;
  std::vector<std::optional<Energy>> energy_;

  void read_energy(std::vector<NodeFigure>& figures);
  void hold_cpu_figures(std::vector<NodeFigure>& figures);
};

}  // namespace lezea
