// See values.h; the shapes are those of src/native/addon.ts.

#include "addon/values.h"

namespace lezea {
namespace {

// A wait status, as wait(2) would give it.
void set_exit(Napi::Object& object, uint32_t wait_status) {
  const uint32_t signal = wait_status & 0x7f;
  if (signal != 0) {
    object.Set("exitSignal", signal);
  } else {
    object.Set("exitCode", (wait_status >> 8) & 0xff);
  }
}

Napi::Object process_id(Napi::Env env, int pid, uint64_t start_ticks) {
  Napi::Object id = Napi::Object::New(env);
  id.Set("pid", pid);
  id.Set("startTicks", big(env, start_ticks));
  return id;
}

Napi::Buffer<char> bytes(Napi::Env env, const std::string& text) {
  return Napi::Buffer<char>::Copy(env, text.data(), text.size());
}

Napi::Object to_js(Napi::Env env, const RunState& run) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("run", run.run);
  out.Set("row", rows_to_js(env, {to_frame({run.run}, run.totals, run.memory)}));
  out.Set("state", bytes(env, run.state));
  out.Set("residualColumns", run.residual_columns);
  out.Set("liveProcesses", run.live_processes);
  out.Set("observedNs", big(env, run.observed_ns));
  out.Set("elapsedNs", big(env, run.elapsed_ns));
  out.Set("lostEvents", big(env, run.lost_events));
  out.Set("estimatedColumns", run.estimated);
  out.Set("apportionedColumns", run.apportioned);
  out.Set("cgroupExcessNs", big(env, run.cgroup_excess_ns));
  if (run.cgroup.empty()) {
    out.Set("cgroup", env.Null());
  } else {
    out.Set("cgroup", run.cgroup);
  }
  return out;
}

Napi::Object to_js(Napi::Env env, const ExitedProcess& exited) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("run", exited.run);
  out.Set("process", process_id(env, exited.pid, exited.start_ticks));
  out.Set("session", exited.session);
  out.Set("parent", exited.parent_pid);
  out.Set("exe", exited.exe);
  out.Set("comm", exited.comm);
  out.Set("row", rows_to_js(env, {to_frame({}, exited.totals, {})}));
  if (exited.wait_status) set_exit(out, *exited.wait_status);
  if (exited.oom_killed) out.Set("oomKilled", true);
  out.Set("startedMonoNs", big(env, exited.started_ns));
  out.Set("endedMonoNs", big(env, exited.ended_ns));
  out.Set("released", exited.released);
  return out;
}

Napi::Object to_js(Napi::Env env, const SelfUse& self) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("cpuNs", big(env, self.cpu_ns));
  out.Set("rssBytes", static_cast<double>(self.rss_bytes));
  out.Set("ticks", big(env, self.ticks));
  out.Set("overruns", big(env, self.overruns));
  out.Set("intervalMs", static_cast<double>(self.interval_ns) / 1e6);
  auto buckets = Napi::BigUint64Array::New(env, self.tick_buckets.size(), napi_biguint64_array);
  for (size_t i = 0; i < self.tick_buckets.size(); ++i) buckets[i] = self.tick_buckets[i];
  out.Set("tickDurationNs", buckets);
  out.Set("tickDurationSumNs", big(env, self.tick_sum_ns));
  return out;
}

Napi::Object to_js(Napi::Env env, const ProcessState& process) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("run", process.run);
  out.Set("process", process_id(env, process.pid, process.start_ticks));
  out.Set("state", bytes(env, process.state));
  return out;
}

Napi::Object to_js(Napi::Env env, const NodeFigure& figure) {
  Napi::Object out = Napi::Object::New(env);
  Napi::Object labels = Napi::Object::New(env);
  for (const auto& [key, value] : figure.labels) labels.Set(key, value);
  out.Set("name", figure.name);
  out.Set("labels", labels);
  out.Set("value", figure.value);
  out.Set("kind", figure.counter ? "counter" : "gauge");
  return out;
}

// What is not known is not there.
Napi::Object to_js(Napi::Env env, const GpuBooks& books, const GpuBooks::Line& line) {
  Napi::Object out = Napi::Object::New(env);
  if (books.energy_known) out.Set("energyUj", big(env, static_cast<uint64_t>(line.energy_uj)));
  if (books.active_known) out.Set("activeNs", big(env, static_cast<uint64_t>(line.active_ns)));
  return out;
}

Napi::Object to_js(Napi::Env env, const GpuBooks& books) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("gpu", books.gpu);
  out.Set("uuid", books.uuid);
  out.Set("runs", to_js(env, books, books.runs));
  out.Set("others", to_js(env, books, books.others));
  out.Set("nobody", to_js(env, books, books.nobody));
  return out;
}

Napi::Object to_js(Napi::Env env, const SourceStatus& status) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("name", status.name);
  out.Set("state", status.state);
  out.Set("reason", status.reason);
  out.Set("how", status.how);
  return out;
}

template <class T>
Napi::Array list(Napi::Env env, const std::vector<T>& items) {
  Napi::Array out = Napi::Array::New(env, items.size());
  for (uint32_t i = 0; i < items.size(); ++i) out.Set(i, to_js(env, items[i]));
  return out;
}

}  // namespace

Napi::BigInt big(Napi::Env env, uint64_t value) { return Napi::BigInt::New(env, value); }

Napi::BigUint64Array rows_to_js(Napi::Env env, const std::vector<FrameRow>& rows) {
  auto out = Napi::BigUint64Array::New(env, rows.size() * kFrameWords, napi_biguint64_array);
  size_t at = 0;
  for (const FrameRow& row : rows) {
    for (const uint64_t word : row) out[at++] = word;
  }
  return out;
}

Napi::Value to_js(Napi::Env env, const Snapshot& snapshot) {
  const EngineSnapshot& engine = snapshot.engine;
  Napi::Object out = Napi::Object::New(env);
  out.Set("tMonoNs", big(env, engine.t_mono_ns));
  out.Set("tWallMs", static_cast<double>(engine.t_wall_ms));
  out.Set("slots", rows_to_js(env, engine.slots));
  out.Set("runs", list(env, engine.runs));
  out.Set("processes", list(env, engine.processes));
  out.Set("exited", list(env, engine.exited));
  out.Set("acceptedRings", static_cast<double>(snapshot.accepted_rings));
  out.Set("refusedRings", static_cast<double>(snapshot.refused_rings));
  out.Set("lostRecords", big(env, engine.lost_records));
  out.Set("lostExitEvents", big(env, engine.lost_exit_events));
  out.Set("forgedRecords", big(env, engine.forged_records));
  out.Set("undefinedRecords", big(env, engine.undefined_records));
  out.Set("cutStamps", big(env, engine.cut_stamps));
  out.Set("self", to_js(env, snapshot.self));
  out.Set("gpus", list(env, engine.gpus));
  return out;
}

Napi::Value to_js(Napi::Env env, const std::vector<NodeFigure>& figures) {
  return list(env, figures);
}
Napi::Value to_js(Napi::Env env, const std::vector<SourceStatus>& statuses) {
  return list(env, statuses);
}

void throw_type(Napi::Env env, const std::string& message) {
  if (!env.IsExceptionPending()) Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
}

uint32_t u32_member(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= UINT32_MAX)) {
    throw_type(object.Env(), std::string(name) + ": expected an integer from 0 to 4294967295");
    return 0;
  }
  return static_cast<uint32_t>(number);
}

uint64_t u64_member(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  bool lossless = false;
  const uint64_t number = value.IsBigInt() ? value.As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  if (!lossless) throw_type(object.Env(), std::string(name) + ": expected a bigint of 64 bits");
  return number;
}

int64_t i64_member(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  bool lossless = false;
  const int64_t number = value.IsBigInt() ? value.As<Napi::BigInt>().Int64Value(&lossless) : 0;
  if (!lossless) throw_type(object.Env(), std::string(name) + ": expected a bigint of 64 bits");
  return number;
}

std::string string_member(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsString()) {
    throw_type(object.Env(), std::string(name) + ": expected a string");
    return {};
  }
  return value.As<Napi::String>().Utf8Value();
}

}  // namespace lezea
