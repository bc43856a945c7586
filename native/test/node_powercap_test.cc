// The energy counters: which zones are summed, wraps and resets, refusal, and the list of CPUs.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "check.h"
#include "node/node_figures.h"
#include "node/powercap.h"

using namespace lezea;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// A /sys of its own.
class FakeSys {
 public:
  FakeSys() {
    char name[] = "/tmp/lezea-powercap-test-XXXXXX";
    path_ = mkdtemp(name);
    std::filesystem::create_directories(path_ + "/class/powercap/intel-rapl");
  }
  ~FakeSys() { std::filesystem::remove_all(path_); }
  void zone(const std::string& folder, const std::string& name, uint64_t energy_uj,
            uint64_t range_uj = 262'143'328'850) {
    const std::string path = path_ + "/class/powercap/" + folder;
    std::filesystem::create_directories(path);
    std::ofstream(path + "/name") << name << "\n";
    std::ofstream(path + "/max_energy_range_uj") << range_uj << "\n";
    energy(folder, energy_uj);
  }
  void energy(const std::string& folder, uint64_t energy_uj) {
    std::ofstream(energy_path(folder)) << energy_uj << "\n";
  }
  std::string energy_path(const std::string& folder) const {
    return path_ + "/class/powercap/" + folder + "/energy_uj";
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Two sockets of a server, and what else such a folder holds.
void two_sockets(FakeSys& sys) {
  sys.zone("intel-rapl:0", "package-0", 1'000'000);
  sys.zone("intel-rapl:0:0", "core", 600'000);
  sys.zone("intel-rapl:0:1", "dram", 200'000);
  sys.zone("intel-rapl:1", "package-1", 3'000'000);
  sys.zone("intel-rapl:1:0", "dram", 400'000);
  sys.zone("intel-rapl:2", "psys", 9'000'000);
  sys.zone("intel-rapl:2:0", "dram", 9'000'000);
  sys.zone("intel-rapl-mmio:0", "package-0", 1'000'000);
}

}  // namespace

TEST("packages and their memory are summed, nothing that is part of them or holds them") {
  FakeSys sys;
  two_sockets(sys);
  const Powercap powercap(sys.path());
  CHECK_EQ(powercap.status(), ReadStatus::kOk);
  std::string found;
  for (const PowercapZone& zone : powercap.zones())
    found += zone.folder + "=" + zone.kind + zone.index + " ";
  CHECK_EQ(
      found,
      "intel-rapl:0=package0 intel-rapl:0:1=dram0 intel-rapl:1=package1 intel-rapl:1:0=dram1 ");
  const std::optional<EnergyMark> before = powercap.mark(5 * kSecond);
  REQUIRE(before.has_value());
  sys.energy("intel-rapl:0", 1'000'100);
  sys.energy("intel-rapl:0:1", 200'020);
  sys.energy("intel-rapl:1", 3'000'003);
  sys.energy("intel-rapl:2", 99'000'000);
  const std::optional<EnergyMark> now = powercap.mark(6 * kSecond);
  REQUIRE(now.has_value());
  CHECK(powercap.between(*before, *now) == std::optional<uint64_t>(123));
  // No time has passed, or it went backwards.
  CHECK(!powercap.between(*now, *before));
  CHECK(!powercap.between(*now, *now));
}

TEST("dies of a package are packages, as one of many is") {
  FakeSys sys;
  sys.zone("intel-rapl:0", "package-0-die-0", 1);
  sys.zone("intel-rapl:1", "package-0-die-1", 1);
  sys.zone("intel-rapl:10", "package-10", 1);
  sys.zone("intel-rapl:10:0", "dram", 1);
  std::string found;
  const Powercap powercap(sys.path());
  for (const PowercapZone& zone : powercap.zones()) found += zone.kind + zone.index + " ";
  CHECK_EQ(found, "package0-die-0 package0-die-1 package10 dram0 ");
}

TEST("a machine without such zones has none, and no figure") {
  CHECK_EQ(Powercap("/nonexistent").status(), ReadStatus::kGone);
  FakeSys sys;
  CHECK_EQ(Powercap(sys.path()).status(), ReadStatus::kGone);
  CHECK(Powercap(sys.path()).zones().empty());
  for (const NodeFigure& figure : NodeReader("/nonexistent", sys.path()).read())
    CHECK(figure.name.find("rapl") == std::string::npos);
}

TEST("where one counter cannot be read there are no zones: part of the sum is not the sum") {
  FakeSys sys;
  two_sockets(sys);
  std::ofstream(sys.energy_path("intel-rapl:1:0")) << "x";
  CHECK(Powercap(sys.path()).zones().empty());
  CHECK_EQ(Powercap(sys.path()).status(), ReadStatus::kMalformed);
  two_sockets(sys);
  sys.zone("intel-rapl:1", "package-1", 1, 0);
  CHECK_EQ(Powercap(sys.path()).status(), ReadStatus::kMalformed);
  two_sockets(sys);
  std::filesystem::remove(sys.energy_path("intel-rapl:0"));
  CHECK_EQ(Powercap(sys.path()).status(), ReadStatus::kUnsupported);
}

TEST("counters that only root may read are denied to others") {
  if (geteuid() != 0) SKIP("root can be somebody else, others cannot");
  FakeSys sys;
  two_sockets(sys);
  chmod(sys.path().c_str(), 0755);
  chmod(sys.energy_path("intel-rapl:0").c_str(), 0400);
  REQUIRE(seteuid(65534) == 0);
  const Powercap powercap(sys.path());
  REQUIRE(seteuid(0) == 0);
  CHECK_EQ(powercap.status(), ReadStatus::kDenied);
  CHECK(powercap.zones().empty());
}

TEST("a zone that goes gives no mark, and a new one after it came back") {
  FakeSys sys;
  two_sockets(sys);
  const Powercap powercap(sys.path());
  std::filesystem::remove(sys.energy_path("intel-rapl:1"));
  CHECK(!powercap.mark(kSecond));
  sys.energy("intel-rapl:1", 1);
  CHECK(powercap.mark(kSecond).has_value());
}

TEST("a counter that began anew goes on from its range") {
  constexpr uint64_t kRange = 65'532'610'987;  // 65 kJ
  const auto increase = [](uint64_t before, uint64_t now, uint64_t elapsed_ns) {
    return energy_increase(before, now, kRange, elapsed_ns);
  };
  CHECK(increase(7, 7, kSecond) == std::optional<uint64_t>(0));
  CHECK(increase(7, 500'000'007, kSecond) == std::optional<uint64_t>(500'000'000));
  CHECK(increase(kRange - 5, 10, kSecond) == std::optional<uint64_t>(15));
  CHECK(increase(kRange, 0, kSecond) == std::optional<uint64_t>(0));
  // More than any package draws: it was set back. 100 ms of 2000 W and the slack are 220 J.
  CHECK(increase(0, 220'000'000, kSecond / 10) == std::optional<uint64_t>(220'000'000));
  CHECK(!increase(0, 220'000'001, kSecond / 10));
  CHECK(!increase(40'000'000'000, 0, kSecond));
  // Long enough for it to have begun anew twice.
  CHECK(increase(5, 6, 32 * kSecond) == std::optional<uint64_t>(1));
  CHECK(!increase(5, 6, 33 * kSecond));
  CHECK(!increase(5, 6, UINT64_MAX));
  // Above its own range.
  CHECK(!increase(kRange + 1, 5, kSecond));
  CHECK(!increase(5, kRange + 1, kSecond));
}

TEST("a mark comes back from its bytes where the zones are the same") {
  FakeSys sys;
  two_sockets(sys);
  const Powercap powercap(sys.path());
  ByteWriter out;
  powercap.encode(*powercap.mark(7), out);
  ByteReader in(out.bytes());
  const std::optional<EnergyMark> again = powercap.decode(in);
  REQUIRE(again.has_value());
  CHECK(in.finished());
  CHECK_EQ(again->t_ns, 7);
  CHECK(again->energy_uj == powercap.mark(7)->energy_uj);
  ByteReader cut(std::string_view(out.bytes()).substr(0, out.bytes().size() - 1));
  CHECK(!powercap.decode(cut));
  FakeSys other;
  other.zone("intel-rapl:0", "package-0", 1);
  ByteReader foreign(out.bytes());
  CHECK(!Powercap(other.path()).decode(foreign));
}

TEST("the node's figures have node_exporter's names, and go on where a counter begins anew") {
  FakeSys sys;
  sys.zone("intel-rapl:0", "package-0", 65'532'610'000, 65'532'610'987);
  sys.zone("intel-rapl:0:0", "dram", 5'000'000, 65'532'610'987);
  NodeReader reader("/nonexistent", sys.path());
  const auto values = [&reader] {
    std::string text;
    for (const NodeFigure& figure : reader.read()) {
      if (figure.name.find("rapl") == std::string::npos) continue;
      CHECK(figure.counter);
      text += figure.name + "{" + figure.labels[0].first + "=" + figure.labels[0].second + "," +
              figure.labels[1].first + "}" +
              std::to_string(static_cast<uint64_t>(figure.value * 1e6 + 0.5)) + " ";
    }
    return text;
  };
  CHECK_EQ(values(),
           "rapl_package_joules_total{index=0,path}65532610000 "
           "rapl_dram_joules_total{index=0,path}5000000 ");
  sys.energy("intel-rapl:0", 13);
  sys.energy("intel-rapl:0:0", 5'000'002);
  CHECK_EQ(values(),
           "rapl_package_joules_total{index=0,path}65532611000 "
           "rapl_dram_joules_total{index=0,path}5000002 ");
  // Unreadable: the counter is absent, and goes on when it is there again.
  std::filesystem::remove(sys.energy_path("intel-rapl:0"));
  CHECK_EQ(values(), "rapl_dram_joules_total{index=0,path}5000002 ");
  sys.energy("intel-rapl:0", 20);
  CHECK_EQ(values(),
           "rapl_package_joules_total{index=0,path}65532611007 "
           "rapl_dram_joules_total{index=0,path}5000002 ");
}

TEST("the list of online CPUs is counted") {
  const auto count = [](const char* text) {
    const Result<uint32_t> cpus = parse_cpu_list(text);
    return cpus.ok() ? cpus.value : 0;
  };
  CHECK_EQ(count("0\n"), 1);
  CHECK_EQ(count("0-3\n"), 4);
  CHECK_EQ(count("0-3,8,10-11\n"), 7);
  for (const char* text : {"", "\n", "-", "3-1", "0-", "a", "0,,1", "0-4294967295,0-4294967295"})
    CHECK_EQ(parse_cpu_list(text).status, ReadStatus::kMalformed);
  CHECK_EQ(count("0-4294967294"), 4294967295);
  const Result<uint32_t> here = online_cpus("/sys");
  CHECK(here.ok() && here.value == static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN)));
}
