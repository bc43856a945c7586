// What changed since the last snapshot, and the opaque states that let a restarted agent go on.

#include <algorithm>

#include "sampler/engine.h"

namespace lezea {
namespace {

constexpr uint32_t kProcessStateVersion = 3;
// Its rows had kOldFrameWords; else the same.
constexpr uint32_t kOldProcessStateVersion = 2;
constexpr uint32_t kRunStateVersion = 3;
// Without GPUs, and without energy of any kind.
constexpr uint32_t kRunStateWithoutGpus = 2;
constexpr uint32_t kRunStateWithoutEnergy = 1;
constexpr uint32_t kMostLanes = 1024;

void encode_positions(ByteWriter& out, uint64_t inode, const std::vector<uint64_t>& positions) {
  out.u64(inode);
  out.u32(static_cast<uint32_t>(positions.size()));
  for (const uint64_t position : positions) out.u64(position);
}

}  // namespace

// The mark is every run's: one transaction stores what was charged and up to where.
std::string Engine::encode_run(const Run& run) const {
  ByteWriter out;
  out.u32(kRunStateVersion);
  for (const uint64_t value : {run.opened_ns, run.ticked_ns, run.observed_ns, run.lost_events})
    out.u64(value);
  out.u32(run.estimated);
  out.u32(run.apportioned);
  gpus_.encode(out);
  out.u8(sources_.energy ? 1 : 0);
  if (sources_.energy) sources_.energy->encode(out);
  return out.take();
}

std::string Engine::encode_process(const Process& process) const {
  ByteWriter out;
  out.u32(kProcessStateVersion);
  out.u64(process.serial);
  out.u64(process.parent);
  out.u32(static_cast<uint32_t>(process.pid));
  out.u64(process.start_ticks);
  out.u64(process.started_ns);
  out.u32(static_cast<uint32_t>(process.parent_pid));
  out.string(process.exe);
  out.string(process.comm);
  const ChildLedger& children = process.children;
  for (const uint64_t value : {children.base_ns, children.known_ns, children.granted_ns})
    out.u64(value);
  out.u8(children.usable ? 1 : 0);
  out.u8(process.adopts_orphans ? 1 : 0);
  out.u32(static_cast<uint32_t>(children.outside.size()));
  for (const auto& [pid, start_ticks] : children.outside) {
    out.u32(static_cast<uint32_t>(pid));
    out.u64(start_ticks);
  }
  process.account.encode(out);
  process.reader.encode(out);
  const size_t most_saved = kMostRings - std::min(process.rings.size(), kMostRings);
  const size_t saved = std::min(process.saved_rings.size(), most_saved);
  out.u32(static_cast<uint32_t>(process.rings.size() + saved));
  for (const Ring& ring : process.rings) {
    // A record that is applied later in this very state is not applied yet; what was dropped is.
    encode_positions(out, ring.file.inode(),
                     process.held.empty() ? ring.file.positions() : ring.applied);
  }
  for (size_t i = process.saved_rings.size() - saved; i < process.saved_rings.size(); ++i)
    encode_positions(out, process.saved_rings[i].inode, process.saved_rings[i].positions);
  return out.take();
}

void Engine::restore_slot(const FrameRow& row) {
  const RowId of = row_id(row);
  Slot* slot = table_.slot(of.id);
  if (slot == nullptr) return;
  (of.gpu == 0 ? slot->totals : slot->gpus[of.gpu].totals) = from_frame(row);
}

void Engine::restore_run(const FrameRow& row, std::string_view state) {
  Run* run = table_.run(static_cast<uint32_t>(row[0]));
  if (run == nullptr) return;
  run->totals = from_frame(row);
  ByteReader in(state);
  const uint32_t version = in.u32();
  if (version < kRunStateWithoutEnergy || version > kRunStateVersion) return;
  for (uint64_t* value : {&run->opened_ns, &run->ticked_ns, &run->observed_ns, &run->lost_events}) {
    *value = in.u64();
  }
  run->estimated = in.u32();
  run->apportioned = in.u32();
  if (version > kRunStateWithoutGpus) gpus_.decode(in);
  if (version > kRunStateWithoutEnergy && in.u8() != 0 && sources_.energy)
    sources_.energy->decode(in);
}

bool Engine::restore_process(uint32_t run, std::string_view state) {
  ByteReader in(state);
  const uint32_t version = in.u32();
  const bool old = version == kOldProcessStateVersion;
  if ((!old && version != kProcessStateVersion) || table_.run(run) == nullptr) return false;
  const uint64_t serial = in.u64();
  const uint64_t parent = in.u64();
  const int pid = static_cast<int>(in.u32());
  const uint64_t start_ticks = in.u64();
  const uint64_t started_ns = in.u64();
  const int parent_pid = static_cast<int>(in.u32());
  const std::string exe = in.string();
  const std::string comm = in.string();
  ChildLedger children;
  for (uint64_t* value : {&children.base_ns, &children.known_ns, &children.granted_ns})
    *value = in.u64();
  children.usable = in.u8() != 0;
  const bool adopts_orphans = in.u8() != 0;
  const uint32_t outside = in.u32();
  for (uint32_t i = 0; i < outside && in.ok(); ++i) {
    const int outside_pid = static_cast<int>(in.u32());
    children.outside.emplace(outside_pid, in.u64());
  }
  ProcessAccount account(run, in, old ? kOldFrameWords : kFrameWords);
  account.adopt_slots(table_);
  ProcessReader reader(sources_, pid, false);
  reader.decode(in);
  std::vector<SavedRing> saved;
  const uint32_t rings = in.u32();
  for (uint32_t i = 0; i < rings && i < kMostRings && in.ok(); ++i) {
    SavedRing ring;
    ring.inode = in.u64();
    const uint32_t lanes = in.u32();
    for (uint32_t j = 0; j < lanes && j < kMostLanes && in.ok(); ++j)
      ring.positions.push_back(in.u64());
    saved.push_back(std::move(ring));
  }
  const bool sound = in.finished() && serial != 0 && serial != parent;
  if (!sound || find(serial) != nullptr) return false;
  scan_once_ = !sources_.heard_before;  // else what happened meanwhile will be told
  bool open = reader.open();
  if (open) {
    const Result<PidStat> stat = reader.files().stat();
    open = stat.ok() && stat.value.start_ticks == start_ticks;
    if (!open) reader.close();
  }
  Process& process =
      add(std::make_unique<Process>(serial, pid, std::move(reader), std::move(account)));
  next_serial_ = std::max(next_serial_, parent + 1);
  if (open) {
    by_pid_[pid] = serial;  // else it may be another's by now
  } else {
    process.ended_ns = process.account.last_close_ns();  // or later, as far as is known
    // Its end, and who had the pid after it, are still to be told.
    if (sources_.heard_before) by_pid_.emplace(pid, serial);
  }
  process.parent = parent;
  process.start_ticks = start_ticks;
  process.started_ns = started_ns;
  process.parent_pid = parent_pid;
  process.exe = exe;
  process.comm = comm;
  process.children = std::move(children);
  process.adopts_orphans = adopts_orphans;
  process.saved_rings = std::move(saved);
  if (open && !process.saved_rings.empty())
    process.waits_until_ns = sources_.clock->monotonic_ns() + restart_wait_ns_;
  return true;
}

EngineSnapshot Engine::snapshot() {
  EngineSnapshot out;
  out.t_mono_ns = last_tick_ns_;
  out.t_wall_ms = sources_.clock->wall_ms();
  std::vector<uint32_t> dirty;
  table_.take_dirty_slots(dirty);
  for (const uint32_t id : dirty) {
    const Slot* slot = table_.slot(id);
    out.slots.push_back(to_frame({id}, slot->totals, slot->memory_now(kHostMemory)));
  }
  std::vector<RowId> dirty_gpus;
  table_.take_dirty_gpus(dirty_gpus);
  for (const RowId& row : dirty_gpus) {
    const Slot* slot = table_.slot(row.id);
    const Totals& totals = slot->gpus.at(row.gpu).totals;
    out.slots.push_back(to_frame(row, totals, slot->memory_now(gauge_of(row.gpu))));
  }
  for (const auto& [gpu, books] : gpus_.books()) out.gpus.push_back(books);
  // What has ended since the last charge is told now; its energy comes later, as that of nobody in particular.
  for (const ExitedProcess& exited : exited_) {
    const uint64_t uncharged_ns = exited.totals.uncharged_cpu_ns;
    if (uncharged_ns > 0) extras_[exited.run].beyond.uncharged_cpu_ns += uncharged_ns;
  }
  for (auto& [id, run] : table_.runs()) {
    if (!run.dirty) continue;
    run.dirty = false;
    RunExtra& extra = extras_[id];
    RunState state;
    state.run = id;
    state.totals = run.totals;
    state.memory = run.memory;
    state.state = encode_run(run);
    state.residual_columns = table_.residual_columns(run);
    state.live_processes = run.processes;
    state.observed_ns = run.observed_ns;
    state.elapsed_ns = run.ticked_ns - run.opened_ns;
    state.lost_events = run.lost_events;
    state.estimated = run.estimated;
    state.apportioned = run.apportioned;
    state.cgroup_excess_ns = extra.cgroup.excess_ns;
    if (extra.cgroup.active) state.cgroup = extra.cgroup.path;
    out.runs.push_back(std::move(state));
    if (extra.beyond.known == 0) continue;
    const uint64_t uncharged_ns = extra.beyond.uncharged_cpu_ns;
    ExitedProcess beyond;
    beyond.run = id;
    beyond.totals = extra.beyond;
    beyond.ended_ns = last_tick_ns_;
    exited_.push_back(std::move(beyond));
    extra.beyond = Totals{};
    extra.beyond.uncharged_cpu_ns = uncharged_ns;
  }
  for (const uint32_t run : closing_) {
    extras_.erase(run);
    table_.close_run(run);
  }
  closing_.clear();
  out.cut_stamps = cut_stamps_;
  for (const auto& [serial, process] : processes_) {
    out.processes.push_back(
        {process->account.run(), process->pid, process->start_ticks, encode_process(*process)});
    out.cut_stamps += process->account.cut_stamps();
  }
  out.exited.swap(exited_);
  out.lost_records = lost_records_;
  out.forged_records = forged_records_;
  out.undefined_records = undefined_records_;
  out.lost_exit_events = (sources_.exits ? sources_.exits->lost() : 0) +
                         (sources_.events ? sources_.events->lost() : 0);
  return out;
}

}  // namespace lezea
