// NodeReader: which file belongs to which collector. Reads under the two roots, parses, keeps the
// last CPU figures because the kernel lets idle and iowait run backwards a little, and energy counters that begin anew.
#include "node/node_figures.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/read_file.h"
#include "node/figures.h"

namespace lezea {
namespace {

// A CPU that was taken offline and came back starts anew; less than this is the kernel's jitter.
constexpr double kCpuResetSeconds = 3;

enum Collector { kStat, kMeminfo, kLoadavg, kPressure, kDiskstats, kNetdev };

bool starts_with(const std::string& text, const char* start) { return text.rfind(start, 0) == 0; }

// Partitions would count their disk's traffic again, and loop and RAM devices other devices'.
bool is_whole_disk(const std::string& sys_root, const std::string& device) {
  for (const char* prefix : {"loop", "ram", "zram", "fd"}) {
    if (starts_with(device, prefix)) return false;
  }
  // The kernel writes the slash in a device's name ("cciss/c0d0") as '!' in sysfs.
  std::string entry = device;
  for (char& c : entry) {
    if (c == '/') c = '!';
  }
  struct stat info{};
  return stat((sys_root + "/block/" + entry).c_str(), &info) == 0;
}

}  // namespace

NodeReader::NodeReader(std::string proc_root, std::string sys_root, bool energy)
    : proc_root_(std::move(proc_root)), sys_root_(std::move(sys_root)) {
  if (energy) powercap_ = Powercap(sys_root_);
  energy_.resize(powercap_.zones().size());
  for (const char* name : {"stat", "meminfo", "loadavg", "pressure", "diskstats", "netdev"}) {
    collectors_.push_back({name, false});
  }
}

std::vector<NodeFigure> NodeReader::read() {
  std::vector<NodeFigure> figures;
  const auto text_of = [this](const char* file) {
    return read_file_at(AT_FDCWD, (proc_root_ + "/" + file).c_str());
  };
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));

  Result<std::string> text = text_of("stat");
  collectors_[kStat].ok = text.ok() && parse_proc_stat(text.value, ticks, figures);
  if (collectors_[kStat].ok) hold_cpu_figures(figures);

  text = text_of("meminfo");
  collectors_[kMeminfo].ok = text.ok() && parse_meminfo(text.value, figures);

  text = text_of("loadavg");
  collectors_[kLoadavg].ok = text.ok() && parse_loadavg(text.value, figures);

  collectors_[kPressure].ok = true;
  for (const char* resource : {"cpu", "memory", "io"}) {
    text = text_of((std::string("pressure/") + resource).c_str());
    bool ok = text.ok() && parse_pressure(text.value, resource, figures);
    if (!ok) collectors_[kPressure].ok = false;
  }

  // Without /sys nothing tells disks from partitions.
  struct stat info{};
  bool has_block = stat((sys_root_ + "/block").c_str(), &info) == 0;
  text = text_of("diskstats");
  const auto is_disk = [this](const std::string& device) {
    return is_whole_disk(sys_root_, device);
  };
  collectors_[kDiskstats].ok =
      has_block && text.ok() && parse_diskstats(text.value, is_disk, figures);

  // /proc/net is a link to self/net: the network namespace of the reader.
  text = text_of("net/dev");
  collectors_[kNetdev].ok = text.ok() && parse_net_dev(text.value, figures);

  read_energy(figures);
  return figures;
}

// What a counter grew by while that cannot be known is left out: the figure never falls.
void NodeReader::read_energy(std::vector<NodeFigure>& figures) {
  for (size_t i = 0; i < energy_.size(); ++i) {
    const PowercapZone& zone = powercap_.zones()[i];
    const Result<uint64_t> counter_uj = powercap_.energy_uj(zone);
    if (!counter_uj.ok()) continue;
    const uint64_t now_ns = SystemClock().monotonic_ns();
    Energy next = {now_ns, counter_uj.value, counter_uj.value};
    if (const std::optional<Energy>& last = energy_[i]) {
      const std::optional<uint64_t> increase =
          energy_increase(last->counter_uj, counter_uj.value, zone.range_uj, now_ns - last->t_ns);
      next.total_uj = last->total_uj + increase.value_or(0);
    }
    energy_[i] = next;
    figures.push_back({"rapl_" + zone.kind + "_joules_total",
                       {{"index", zone.index}, {"path", powercap_.path(zone)}},
                       static_cast<double>(next.total_uj) / 1e6,
                       true});
  }
}

void NodeReader::hold_cpu_figures(std::vector<NodeFigure>& figures) {
  for (NodeFigure& figure : figures) {
    if (figure.name != "cpu_seconds_total") continue;
    double& last = last_cpu_[figure.labels[0].second + "/" + figure.labels[1].second];
    bool jitter = figure.value < last && last - figure.value < kCpuResetSeconds;
    if (jitter) figure.value = last;
    last = figure.value;
  }
}

}  // namespace lezea
