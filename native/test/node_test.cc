// Node figures: the captured root figure by figure, hostile texts, missing files, the live machine.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <set>
#include <string>

#include "check.h"
#include "fixture.h"
#include "node/figures.h"
#include "node/node_figures.h"

using namespace lezea;
using lezea::test::fixture_path;

namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

std::optional<NodeFigure> find(const std::vector<NodeFigure>& figures, const std::string& name,
                               const Labels& labels = {}) {
  for (const NodeFigure& figure : figures) {
    if (figure.name == name && figure.labels == labels) return figure;
  }
  return std::nullopt;
}

double value_of(const std::vector<NodeFigure>& figures, const std::string& name,
                const Labels& labels = {}) {
  std::optional<NodeFigure> figure = find(figures, name, labels);
  CHECK(figure.has_value());
  return figure ? figure->value : -1;
}

bool all_ok(const NodeReader& reader) {
  for (const NodeCollector& collector : reader.collectors()) {
    if (!collector.ok) return false;
  }
  return true;
}

// A directory that is removed with the files put into it.
class TemporaryRoot {
 public:
  TemporaryRoot() {
    char name[] = "/tmp/lezea-node-test-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TemporaryRoot() {
    for (const std::string& file : files_) std::remove(file.c_str());
    rmdir(path_.c_str());
  }
  void put(const std::string& name, const std::string& text) {
    files_.insert(path_ + "/" + name);
    std::ofstream(path_ + "/" + name) << text;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::set<std::string> files_;
};

}  // namespace

TEST("the captured node reads as it was") {
  NodeReader reader(fixture_path("debian12-vm/proc"), fixture_path("debian12-vm/sys"));
  CHECK(!all_ok(reader));
  std::vector<NodeFigure> figures = reader.read();
  CHECK(all_ok(reader));
  CHECK_EQ(value_of(figures, "cpu_seconds_total", {{"cpu", "0"}, {"mode", "user"}}), 134.18);
  CHECK_EQ(value_of(figures, "cpu_seconds_total", {{"cpu", "1"}, {"mode", "idle"}}), 2530.8);
  CHECK_EQ(value_of(figures, "cpu_seconds_total", {{"cpu", "1"}, {"mode", "steal"}}), 0.56);
  CHECK(!find(figures, "cpu_seconds_total", {{"cpu", ""}, {"mode", "user"}}));
  CHECK_EQ(value_of(figures, "context_switches_total"), 708490.0);
  CHECK_EQ(value_of(figures, "forks_total"), 12075.0);
  CHECK_EQ(value_of(figures, "boot_time_seconds"), 1795257032.0);
  CHECK_EQ(value_of(figures, "procs_running"), 3.0);
  CHECK_EQ(value_of(figures, "procs_blocked"), 0.0);
  CHECK_EQ(value_of(figures, "memory_MemTotal_bytes"), 24684092.0 * 1024);
  CHECK_EQ(value_of(figures, "load1"), 0.62);
  CHECK_EQ(value_of(figures, "load15"), 0.37);
  CHECK_EQ(value_of(figures, "pressure_io_waiting_seconds_total"), 7.106659);
  CHECK_EQ(value_of(figures, "pressure_io_stalled_seconds_total"), 6.746383);
  CHECK(find(figures, "pressure_cpu_waiting_seconds_total").has_value());
  CHECK(!find(figures, "pressure_cpu_stalled_seconds_total"));
  const Labels vda = {{"device", "vda"}};
  CHECK_EQ(value_of(figures, "disk_read_bytes_total", vda), 5871122.0 * 512);
  CHECK_EQ(value_of(figures, "disk_written_bytes_total", vda), 1599952.0 * 512);
  CHECK_EQ(value_of(figures, "disk_reads_completed_total", vda), 63016.0);
  CHECK_EQ(value_of(figures, "disk_writes_completed_total", vda), 8834.0);
  CHECK_EQ(value_of(figures, "disk_io_time_seconds_total", vda), 13.396);
  CHECK(!find(figures, "disk_read_bytes_total", {{"device", "zram0"}}));
  CHECK(!find(figures, "disk_read_bytes_total", {{"device", "loop0"}}));
  const Labels eth0 = {{"device", "eth0"}};
  CHECK_EQ(value_of(figures, "network_receive_bytes_total", eth0), 266327942.0);
  CHECK_EQ(value_of(figures, "network_receive_packets_total", eth0), 8742.0);
  CHECK_EQ(value_of(figures, "network_transmit_bytes_total", eth0), 656504.0);
  CHECK_EQ(value_of(figures, "network_transmit_drop_total", eth0), 0.0);
}

TEST("counters and gauges are marked, names are unique with their labels") {
  NodeReader reader("/proc", "/sys");
  std::set<std::pair<std::string, Labels>> seen;
  for (const NodeFigure& figure : reader.read()) {
    CHECK(seen.insert({figure.name, figure.labels}).second);
    const size_t suffix = figure.name.rfind("_total");
    CHECK_EQ(figure.counter, suffix != std::string::npos && suffix + 6 == figure.name.size());
    CHECK(figure.value >= 0);
  }
  CHECK(seen.count({"memory_MemTotal_bytes", {}}) == 1);
  CHECK(seen.count({"load1", {}}) == 1);
}

TEST("a missing root gives no figures and no collector that is fine") {
  NodeReader reader("/nonexistent", "/nonexistent");
  CHECK(reader.read().empty());
  for (const NodeCollector& collector : reader.collectors()) CHECK(!collector.ok);
  CHECK_EQ(reader.collectors().size(), 6);
}

TEST("malformed files give nothing at all") {
  std::vector<NodeFigure> out;
  const auto any_disk = [](const std::string&) { return true; };
  for (const char* bad :
       {"", "cpu0 1 2 3\n", "cpu0 a b c d e f g h\n", "cpu0 1 2 3 4 5 6 7 8\nctxt 1\n"}) {
    CHECK(!parse_proc_stat(bad, 100, out));
  }
  CHECK(!parse_meminfo("MemTotal: 12 MB\n", out));
  CHECK(!parse_meminfo("nonsense\n", out));
  CHECK(!parse_meminfo("MemTotal: 1 kB\nMemFree: x kB\n", out));
  for (const char* bad : {"", "0.1 0.20 0.30", "0.10 0.20", "0,10 0.20 0.30", "a.bc 0.20 0.30",
                          "184467440737095517.00 0.20 0.30"}) {
    CHECK(!parse_loadavg(bad, out));
  }
  CHECK(!parse_pressure("some avg10=0.00\nfull total=1\n", "io", out));
  CHECK(!parse_pressure("some total=5\n", "io", out));
  CHECK(!parse_diskstats("254 0 vda 1 2 3\n", any_disk, out));
  CHECK(!parse_net_dev("one line\n", out));
  CHECK(!parse_net_dev("a\nb|c\n eth0: 1 2 3\n", out));
  CHECK(out.empty());
  CHECK(parse_pressure("some total=5\n", "cpu", out));  // before Linux 5.13 cpu has no "full" line
  CHECK(parse_net_dev("a\nb|c\neth0:1:5 1 1 1 1 1 1 1 2 2 2 2 2 2 2 2\n", out));
  CHECK(find(out, "network_receive_bytes_total", {{"device", "eth0:1"}}).has_value());
}

TEST("CPU counters do not follow the kernel's small steps back, but do follow a new start") {
  TemporaryRoot root;
  NodeReader reader(root.path(), "/nonexistent");
  const std::string tail = "ctxt 1\nbtime 2\nprocesses 3\nprocs_running 1\nprocs_blocked 0\n";
  const Labels idle = {{"cpu", "0"}, {"mode", "idle"}};
  root.put("stat", "cpu0 0 0 0 10000 0 0 0 0\n" + tail);
  CHECK_EQ(value_of(reader.read(), "cpu_seconds_total", idle), 100.0);
  root.put("stat", "cpu0 0 0 0 9999 0 0 0 0\n" + tail);
  CHECK_EQ(value_of(reader.read(), "cpu_seconds_total", idle), 100.0);
  root.put("stat", "cpu0 0 0 0 10001 0 0 0 0\n" + tail);
  CHECK_EQ(value_of(reader.read(), "cpu_seconds_total", idle), 100.01);
  root.put("stat", "cpu0 0 0 0 5 0 0 0 0\n" + tail);
  CHECK_EQ(value_of(reader.read(), "cpu_seconds_total", idle), 0.05);
}
