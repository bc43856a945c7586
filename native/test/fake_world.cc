// See fake_world.h.
#include "fake_world.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

namespace lezea::test {
namespace {

class FakeClock final : public Clock {
 public:
  explicit FakeClock(FakeWorld* world) : world_(world) {}
  uint64_t monotonic_ns() const override { return world_->now_ns; }
  uint64_t boot_offset_ns() const override { return 0; }
  uint64_t wall_ms() const override { return world_->now_ns / 1'000'000; }
  Result<uint64_t> process_cpu_ns(int pid) const override {
    const FakeProcess* process = world_->find(pid);
    if (process == nullptr) return Result<uint64_t>::fail(ReadStatus::kGone);
    return Result<uint64_t>::of(process->cpu_ns());
  }
  void sleep_ns(uint64_t ns) const override {
    world_->now_ns += ns;
    if (const auto call = std::exchange(world_->after_rings_noted, nullptr)) call();
  }

 private:
  FakeWorld* world_;
};

class FakeEvents final : public ProcEvents {
 public:
  explicit FakeEvents(FakeWorld* world) : world_(world) {}
  int fd() const override { return world_->listener.get(); }
  void drain(std::vector<ProcEvent>& out) override {
    out.insert(out.end(), world_->events.begin(), world_->events.end());
    world_->events.clear();
  }
  uint64_t lost() const override { return 0; }

 private:
  FakeWorld* world_;
};

class FakeExits final : public ExitListener {
 public:
  explicit FakeExits(FakeWorld* world) : world_(world) {}
  int fd() const override { return world_->listener.get(); }
  void drain(std::vector<TaskUsage>& out) override {
    if (const auto happens = std::exchange(world_->after_readings, nullptr)) happens();
    out.insert(out.end(), world_->exits.begin(), world_->exits.end());
    world_->exits.clear();
  }
  uint64_t lost() const override { return 0; }

 private:
  FakeWorld* world_;
};

constexpr uint64_t kTickNs = 10'000'000;

std::string io_text(uint64_t read_bytes, uint64_t write_bytes) {
  return "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: " + std::to_string(read_bytes) +
         "\nwrite_bytes: " + std::to_string(write_bytes) + "\ncancelled_write_bytes: 0\n";
}

struct StatFigures {
  int ppid = 1;
  unsigned long long reaped_minor_faults = 0, user_ticks = 0, system_ticks = 0, reaped_ticks = 0;
  unsigned long long threads = 1, start_ticks = 0;
  std::string comm = "fake";
};

std::string stat_text(int id, char state, bool exiting, const StatFigures& figures) {
  char text[512];
  std::snprintf(
      text, sizeof text,
      "%d (%s) %c %d 1 1 0 -1 %d 0 %llu 0 0 %llu %llu %llu 0 20 0 %llu 0 %llu 0 0 0 0 0 0 "
      "0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
      id, figures.comm.c_str(), state, figures.ppid, exiting ? 0x4 : 0, figures.reaped_minor_faults,
      figures.user_ticks, figures.system_ticks, figures.reaped_ticks, figures.threads,
      figures.start_ticks);
  return text;
}

}  // namespace

void FakeFile::write(const std::string& path, const std::string& text) {
  if (fd_ >= 0 && text == text_) return;
  if (fd_ < 0) fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  const auto size = static_cast<ssize_t>(text.size());
  if (fd_ < 0 || ::pwrite(fd_, text.data(), text.size(), 0) != size ||
      ::ftruncate(fd_, size) != 0) {
    ::abort();
  }
  text_ = text;
}

void FakeFile::vanish() {
  if (fd_ >= 0 && ::ftruncate(fd_, 0) != 0) ::abort();
  release();
}

void FakeFile::release() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

uint64_t FakeProcess::cpu_ns() const {
  uint64_t sum = ended_cpu_ns;
  for (const auto& [tid, thread] : threads) sum += thread.cpu_ns;
  return sum;
}

uint64_t FakeProcess::read_bytes() const {
  uint64_t sum = ended_read_bytes;
  for (const auto& [tid, thread] : threads) sum += thread.read_bytes;
  return sum;
}

uint64_t FakeProcess::write_bytes() const {
  uint64_t sum = ended_write_bytes;
  for (const auto& [tid, thread] : threads) sum += thread.write_bytes;
  return sum;
}

FakeWorld::FakeWorld() {
  char path[] = "/dev/shm/lezea-world-XXXXXX";
  if (::mkdtemp(path) == nullptr) ::abort();
  root = path;
  listener.reset(::memfd_create("lezea-fake-listener", MFD_CLOEXEC));
}

FakeWorld::~FakeWorld() {
  for (auto& [pid, process] : processes_) {
    for (FakeFile* file : {&process.stat, &process.statm, &process.io}) file->release();
    for (auto& [tid, thread] : process.threads) {
      thread.schedstat.release();
      thread.io.release();
      thread.stat.release();
    }
  }
  package_energy_.release();
  memory_energy_.release();
  std::error_code ignored;
  std::filesystem::remove_all(root, ignored);
}

Sources FakeWorld::sources(bool with_events, bool with_exits, bool with_taskstats) {
  Sources sources;
  sources.clock = std::make_unique<FakeClock>(this);
  sources.proc_root = UniqueFd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (with_events) sources.events = std::make_unique<FakeEvents>(this);
  if (with_exits) sources.exits = std::make_unique<FakeExits>(this);
  if (with_taskstats) sources.taskstats = std::make_unique<TaskstatsReader>();
  sources.pidfd_info = false;
  if (watts_ > 0)
    sources.energy = std::make_unique<EnergyMeter>(root + "/sys", Powercap(root + "/sys"));
  return sources;
}

void FakeWorld::add_energy(uint64_t watts, int cpus) {
  watts_ = watts;
  energy_since_ns_ = now_ns;
  const std::string zones = root + "/sys/class/powercap/";
  const std::string range = std::to_string(kEnergyRange) + "\n";
  for (const auto& [zone, name] :
       {std::pair("intel-rapl:0", "package-0\n"), std::pair("intel-rapl:0:0", "dram\n")}) {
    std::filesystem::create_directories(zones + zone);
    std::ofstream(zones + zone + "/name") << name;
    std::ofstream(zones + zone + "/max_energy_range_uj") << range;
  }
  std::filesystem::create_directories(root + "/sys/devices/system/cpu");
  std::ofstream(root + "/sys/devices/system/cpu/online") << "0-" << cpus - 1 << "\n";
  write_energy();
}

// The package draws four fifths, and its counter begins anew after the first second.
void FakeWorld::write_energy() {
  if (watts_ == 0) return;
  const std::string zones = root + "/sys/class/powercap/";
  const uint64_t package = energy_uj() / 5 * 4;
  const uint64_t started = kEnergyRange - watts_ * 800'000;
  const auto text = [](uint64_t energy) { return std::to_string(energy % kEnergyRange) + "\n"; };
  package_energy_.write(zones + "intel-rapl:0/energy_uj", text(started + package));
  const std::string memory = zones + "intel-rapl:0:0/energy_uj";
  if (hide_energy) {
    memory_energy_.release();
    std::filesystem::remove(memory);
  } else {
    memory_energy_.write(memory, text(energy_uj() - package));
  }
}

FakeProcess* FakeWorld::find(int pid) {
  const auto found = processes_.find(pid);
  return found == processes_.end() ? nullptr : &found->second;
}

int FakeWorld::free_id() {
  const auto taken = [this](int id) {
    for (const auto& [pid, process] : processes_) {
      if (pid == id || process.threads.count(id) != 0) return true;
    }
    return false;
  };
  while (taken(next_pid)) ++next_pid;
  return next_pid++;
}

FakeProcess& FakeWorld::add(int ppid) {
  const int pid = free_id();
  FakeProcess& process = processes_[pid];
  process.pid = pid;
  process.ppid = ppid;
  process.start_ticks = now_ns / kTickNs;
  process.threads[pid];
  const std::string folder = root + "/" + std::to_string(pid);
  ::mkdir(folder.c_str(), 0755);
  ::mkdir((folder + "/task").c_str(), 0755);
  write_thread(process, pid, process.threads[pid]);
  publish();
  return process;
}

FakeProcess& FakeWorld::spawn(int ppid) { return add(ppid); }

FakeProcess& FakeWorld::fork(int pid, int tid) {
  const uint64_t rss = processes_.at(pid).rss_bytes;
  FakeProcess& child = add(pid);
  child.rss_bytes = rss;
  if (agent_up) {
    ProcEvent event;
    event.kind = ProcEvent::Kind::kFork;
    event.t_mono_ns = now_ns;
    event.parent_tid = tid;
    event.parent_tgid = pid;
    event.tid = event.tgid = child.pid;
    events.push_back(event);
  }
  return child;
}

int FakeWorld::clone_thread(int pid) {
  const int tid = free_id();
  FakeProcess& process = processes_.at(pid);
  write_thread(process, tid, process.threads[tid]);
  if (agent_up) {
    ProcEvent event;
    event.kind = ProcEvent::Kind::kFork;
    event.t_mono_ns = now_ns;
    event.parent_tid = event.parent_tgid =
        process.ppid;  // the process's parent, as the kernel has it
    event.tgid = pid;
    event.tid = tid;
    events.push_back(event);
  }
  return tid;
}

void FakeWorld::begin_end(int pid, int tid) {
  FakeProcess& process = processes_.at(pid);
  FakeThread& thread = process.threads.at(tid);
  if (std::exchange(thread.exiting, true) || !agent_up) return;
  TaskUsage usage;
  usage.tid = tid;
  usage.tgid = pid;
  usage.cpu_ns = thread.cpu_ns;
  usage.has_io = true;
  usage.io.read_bytes = thread.read_bytes;
  usage.io.write_bytes = thread.write_bytes;
  usage.last_of_group = std::all_of(process.threads.begin(), process.threads.end(),
                                    [](const auto& each) { return each.second.exiting; });
  exits.push_back(usage);
}

void FakeWorld::tell_end(int pid, int tid) {
  begin_end(pid, tid);
  if (!agent_up) return;
  ProcEvent event;
  event.kind = ProcEvent::Kind::kExit;
  event.t_mono_ns = now_ns;
  event.tid = tid;
  event.tgid = pid;
  events.push_back(event);
}

void FakeWorld::remove_thread(int pid, int tid, FakeThread& thread) {
  thread.schedstat.vanish();
  thread.io.vanish();
  thread.stat.vanish();
  std::filesystem::remove_all(root + "/" + std::to_string(pid) + "/task/" + std::to_string(tid));
}

void FakeWorld::end_thread(int pid, int tid) {
  FakeProcess& process = processes_.at(pid);
  FakeThread& thread = process.threads.at(tid);
  tell_end(pid, tid);
  process.ended_cpu_ns += thread.cpu_ns;
  process.ended_read_bytes += thread.read_bytes;
  process.ended_write_bytes += thread.write_bytes;
  if (thread.has_lane) process.free_lanes.push_back(thread.lane);
  remove_thread(pid, tid, thread);
  process.threads.erase(tid);
}

void FakeWorld::exec(int pid, int tid) {
  FakeProcess& process = processes_.at(pid);
  std::vector<int> others;
  for (const auto& [other, thread] : process.threads) {
    if (other != tid) others.push_back(other);
  }
  for (const int other : others) end_thread(pid, other);
  if (tid != pid) {  // it goes on under the leader's id
    remove_thread(pid, tid, process.threads.at(tid));
    FakeThread survivor = process.threads.at(tid);
    process.threads.clear();
    process.threads[pid] = survivor;
    write_thread(process, pid, process.threads[pid]);
  }
  process.threads.at(pid).has_lane = false;
  process.threads.at(pid).stack.clear();
  process.ring.reset();
  if (agent_up) {
    ProcEvent event;
    event.kind = ProcEvent::Kind::kExec;
    event.t_mono_ns = now_ns;
    event.tid = event.tgid = pid;
    events.push_back(event);
  }
}

void FakeWorld::exit(int pid) {
  FakeProcess& process = processes_.at(pid);
  std::vector<int> tids;
  for (const auto& [tid, thread] : process.threads) tids.push_back(tid);
  const bool several = tids.size() > 1 || process.ended_cpu_ns > 0;
  for (auto tid = tids.rbegin(); tid != tids.rend(); ++tid) {
    if (*tid != pid) end_thread(pid, *tid);
  }
  tell_end(pid, pid);
  if (several && agent_up) {
    TaskUsage group;
    group.tid = group.tgid = pid;
    group.group = true;
    group.cpu_ns = process.cpu_ns();
    exits.push_back(group);
  }
  process.zombie = true;
  const int reaper = reaper_of_orphans(process);
  for (auto& [other, orphan] : processes_) {
    if (orphan.ppid == pid) orphan.ppid = reaper;
  }
}

int FakeWorld::reaper_of_orphans(const FakeProcess& ended) {
  for (const FakeProcess* up = find(ended.ppid); up != nullptr; up = find(up->ppid)) {
    if (up->subreaper && !up->zombie) return up->pid;
  }
  return 1;
}

void FakeWorld::reap(int pid) {
  FakeProcess& process = processes_.at(pid);
  if (FakeProcess* parent = find(process.ppid)) {
    parent->reaped_cpu_ns += process.cpu_ns() + process.reaped_cpu_ns;
    parent->absorbed_read_bytes += process.read_bytes() + process.absorbed_read_bytes;
    parent->absorbed_write_bytes += process.write_bytes() + process.absorbed_write_bytes;
    parent->reaped_minor_faults += 100;
  }
  publish();  // the kernel adds to the parent's figures before the child's folder goes
  for (FakeFile* file : {&process.stat, &process.statm, &process.io}) file->vanish();
  for (auto& [tid, thread] : process.threads) remove_thread(pid, tid, thread);
  std::filesystem::remove_all(root + "/" + std::to_string(pid));
  processes_.erase(pid);
}

void FakeWorld::use(int pid, int tid, uint64_t cpu_ns, uint64_t read_bytes, uint64_t write_bytes) {
  FakeThread& thread = processes_.at(pid).threads.at(tid);
  thread.cpu_ns += cpu_ns;
  thread.read_bytes += read_bytes;
  thread.write_bytes += write_bytes;
  used_cpu_ns += cpu_ns;
  used_write_bytes += write_bytes;
}

void FakeWorld::write_thread(const FakeProcess& process, int tid, FakeThread& thread) {
  const std::string folder =
      root + "/" + std::to_string(process.pid) + "/task/" + std::to_string(tid);
  ::mkdir(folder.c_str(), 0755);
  thread.schedstat.write(folder + "/schedstat", std::to_string(thread.cpu_ns) + " 0 1\n");
  thread.io.write(folder + "/io", io_text(thread.read_bytes, thread.write_bytes));
  thread.stat.write(folder + "/stat", stat_text(tid, 'R', thread.exiting, StatFigures{}));
}

void FakeWorld::publish() {
  write_energy();
  for (auto& [pid, process] : processes_) {
    for (auto& [tid, thread] : process.threads) write_thread(process, tid, thread);
    const std::string folder = root + "/" + std::to_string(pid) + "/";
    StatFigures figures;
    figures.ppid = process.ppid;
    figures.comm = process.comm;
    figures.reaped_minor_faults = process.reaped_minor_faults;
    figures.user_ticks = process.cpu_ns() * 2 / 3 / kTickNs;
    figures.system_ticks = process.cpu_ns() / 3 / kTickNs;
    figures.reaped_ticks = process.reaped_cpu_ns / kTickNs;
    figures.threads = process.threads.size();
    figures.start_ticks = process.start_ticks;
    const auto leader = process.threads.find(pid);
    const bool exiting = leader != process.threads.end() && leader->second.exiting;
    process.stat.write(folder + "stat",
                       stat_text(pid, process.zombie ? 'Z' : 'R', exiting, figures));
    // Root's, and with a name worth asking for.
    if (process.comm != "fake") {
      process.status.write(folder + "status",
                           "Name:\t" + process.comm + "\nTgid:\t" + std::to_string(pid) +
                               "\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nSigIgn:\t0\nSigCgt:\t0\n"
                               "voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n");
    }
    const uint64_t pages = process.zombie ? 0 : process.rss_bytes / 4096;
    process.statm.write(folder + "statm",
                        std::to_string(pages) + " " + std::to_string(pages) + " 0 0 0 0 0\n");
    process.io.write(folder + "io", io_text(process.read_bytes() + process.absorbed_read_bytes,
                                            process.write_bytes() + process.absorbed_write_bytes));
  }
}

void FakeWorld::announce(int pid, int tid, uint32_t scope, bool stamped, bool begins) {
  FakeProcess& process = processes_.at(pid);
  FakeThread& thread = process.threads.at(tid);
  if (!process.ring) return;
  if (!thread.has_lane) {
    if (!process.free_lanes.empty()) {
      thread.lane = process.free_lanes.back();
      process.free_lanes.pop_back();
    } else if (process.next_lane < process.ring->good_header().lanes) {
      thread.lane = process.next_lane++;
    } else {
      return;  // no lane left: it does not announce
    }
    thread.has_lane = true;
  }
  RingRecord record{};
  record.t_mono_ns = now_ns;
  record.value = stamped ? std::max<uint64_t>(1, thread.cpu_ns) : 0;
  record.scope = scope;
  record.tid = static_cast<uint32_t>(tid);
  record.flags = begins ? LEZEA_RING_FLAG_ACTIVATION : 0;
  process.ring->put(thread.lane, record);
}

void FakeWorld::stamp_process(int pid, int tid) {
  FakeProcess& process = processes_.at(pid);
  const FakeThread& thread = process.threads.at(tid);
  if (!process.ring || !thread.has_lane) return;
  RingRecord record{};
  record.t_mono_ns = now_ns;
  record.value = process.cpu_ns();
  record.tid = static_cast<uint32_t>(tid);
  record.kind = LEZEA_RING_KIND_PROCESS_CPU;
  process.ring->put(thread.lane, record);
}

void FakeWorld::stamp_io(int pid, int tid) {
  FakeProcess& process = processes_.at(pid);
  FakeThread& thread = process.threads.at(tid);
  if (!process.ring || !thread.has_lane) return;
  for (const uint8_t kind : {LEZEA_RING_KIND_IO_READ, LEZEA_RING_KIND_IO_WRITTEN}) {
    RingRecord record{};
    record.t_mono_ns = now_ns;
    record.value = kind == LEZEA_RING_KIND_IO_READ ? thread.read_bytes : thread.write_bytes;
    record.tid = static_cast<uint32_t>(tid);
    record.kind = kind;
    process.ring->put(thread.lane, record);
  }
}

}  // namespace lezea::test
