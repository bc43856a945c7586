// See sampler_object.h.

#include "addon/sampler_object.h"

#include <chrono>

#include "addon/gpu_poller_object.h"
#include "addon/pool_worker.h"
#include "addon/values.h"
#include "service/capable_thread.h"

namespace lezea {
namespace {

// Waits for a snapshot on libuv's pool, builds its JavaScript form on the JavaScript thread. The sampler reports a change
// once: a snapshot that comes too late for its pull is left to the next one.
class PullWorker : public PoolWorker {
 public:
  PullWorker(Napi::Env env, std::shared_ptr<Pulls> pulls, bool fresh)
      : PoolWorker(env, "lezea-pull"),
        deferred_(Napi::Promise::Deferred::New(env)),
        pulls_(std::move(pulls)),
        late_(!pulls_->late.empty()) {
    if (late_) {
      future_ = std::move(pulls_->late.front());
      pulls_->late.pop_front();
    } else {
      future_ = pulls_->sampler->pull(fresh);
    }
  }

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    if (future_.wait_for(pulls_->timeout) != std::future_status::ready) {
      SetError("the sampling thread did not answer within " +
               std::to_string(pulls_->timeout.count()) + " ms");
      return;
    }
    try {
      snapshot_ = future_.get();
    } catch (const std::future_error&) {
      SetError("the sampler is stopped");
    }
  }
  void OnOK() override {
    const Napi::Value snapshot = to_js(Env(), snapshot_);
    snapshot.As<Napi::Object>().Set("late", late_);
    deferred_.Resolve(snapshot);
  }
  void OnError(const Napi::Error& error) override {
    // Still valid: it was not got. In front, where it came from: an older one goes before a newer.
    if (future_.valid()) pulls_->late.push_front(std::move(future_));
    deferred_.Reject(error.Value());
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<Pulls> pulls_;
  const bool late_;
  std::future<Snapshot> future_;
  Snapshot snapshot_;
};

class StopWorker : public PoolWorker {
 public:
  StopWorker(Napi::Env env, std::shared_ptr<Sampler> sampler, uint64_t stored_ns)
      : PoolWorker(env, "lezea-stop"),
        deferred_(Napi::Promise::Deferred::New(env)),
        sampler_(std::move(sampler)),
        stored_ns_(stored_ns) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { sampler_->stop(stored_ns_); }
  void OnOK() override { deferred_.Resolve(Env().Undefined()); }

 private:
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<Sampler> sampler_;
  const uint64_t stored_ns_;
};

void stop_with_environment(void* sampler) { static_cast<Sampler*>(sampler)->stop(); }

// True when the arguments are so many numbers fit for u32.
bool u32_arguments(const Napi::CallbackInfo& info, size_t count, uint32_t* out) {
  for (size_t i = 0; i < count; ++i) {
    const double number = info[i].IsNumber() ? info[i].As<Napi::Number>().DoubleValue() : -1;
    if (!(number >= 0 && number <= UINT32_MAX)) {
      throw_type(info.Env(), "argument " + std::to_string(i + 1) +
                                 ": expected an integer from 0 to 4294967295");
      return false;
    }
    out[i] = static_cast<uint32_t>(number);
  }
  return true;
}

bool object_argument(const Napi::CallbackInfo& info, Napi::Object& out) {
  if (!info[0].IsObject()) {
    throw_type(info.Env(), "argument 1: expected an object");
    return false;
  }
  out = info[0].As<Napi::Object>();
  return true;
}

// The second argument: an array of processes. What is none throws a TypeError.
std::set<ProcessId> processes_argument(const Napi::CallbackInfo& info) {
  std::set<ProcessId> processes;
  if (!info[1].IsArray()) {
    throw_type(info.Env(), "argument 2: expected an array of processes");
    return processes;
  }
  const Napi::Array array = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length() && !info.Env().IsExceptionPending(); ++i) {
    const Napi::Value value = array[i];
    if (!value.IsObject()) {
      throw_type(info.Env(), "argument 2: expected an array of processes");
      break;
    }
    const Napi::Object process = value.As<Napi::Object>();
    processes.emplace(static_cast<int>(u32_member(process, "pid")),
                      u64_member(process, "startTicks"));
  }
  return processes;
}

bool row_argument(const Napi::CallbackInfo& info, FrameRow& row) {
  if (!info[0].IsTypedArray() ||
      info[0].As<Napi::TypedArray>().TypedArrayType() != napi_biguint64_array ||
      info[0].As<Napi::TypedArray>().ElementLength() != kFrameWords) {
    throw_type(info.Env(), "argument 1: expected a BigUint64Array of " +
                               std::to_string(kFrameWords) + " words");
    return false;
  }
  const auto array = info[0].As<Napi::BigUint64Array>();
  for (size_t i = 0; i < row.size(); ++i) row[i] = array[i];
  return true;
}

bool text_argument(const Napi::CallbackInfo& info, size_t index, std::string& out) {
  if (!info[index].IsString()) {
    throw_type(info.Env(), "argument " + std::to_string(index + 1) + ": expected a string");
    return false;
  }
  out = info[index].As<Napi::String>().Utf8Value();
  return true;
}

bool buffer_argument(const Napi::CallbackInfo& info, size_t index, std::string& out) {
  if (!info[index].IsBuffer()) {
    throw_type(info.Env(), "argument " + std::to_string(index + 1) + ": expected a Buffer");
    return false;
  }
  const auto buffer = info[index].As<Napi::Buffer<char>>();
  out.assign(buffer.Data(), buffer.Length());
  return true;
}

// Takes the descriptors that were passed: once in a process.
KeptBefore kept_of(const Napi::Object& options) {
  KeptBefore kept;
  const Napi::Value value = options.Get("kept");
  if (!value.IsObject()) return kept;
  const auto object = value.As<Napi::Object>();
  kept.store = std::make_shared<DescriptorStore>(string_member(object, "address"));
  std::vector<std::string> names;
  const Napi::Value listed = object.Get("names");
  if (!listed.IsArray()) {
    throw_type(options.Env(), "kept.names: expected an array of strings");
    return kept;
  }
  const auto array = listed.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i)
    names.push_back(array.Get(i).ToString().Utf8Value());
  kept.descriptors = take_passed_descriptors(names);
  return kept;
}

SamplerSettings settings_of(const Napi::Object& options) {
  SamplerSettings settings;
  settings.proc_root = string_member(options, "procRoot");
  settings.sys_root = string_member(options, "sysRoot");
  settings.interval_ns = uint64_t{u32_member(options, "intervalMs")} * 1'000'000;
  settings.cpu_budget = u32_member(options, "cpuBudgetPpm") / 1e6;
  settings.node_interval_ns = uint64_t{u32_member(options, "nodeIntervalMs")} * 1'000'000;
  settings.restart_wait_ns = uint64_t{u32_member(options, "restartWaitMs")} * 1'000'000;
  settings.ring_socket_mode = u32_member(options, "ringSocketMode");
  if (!options.Get("ringSocket").IsNull())
    settings.ring_socket = string_member(options, "ringSocket");
  const Napi::Value disabled = options.Get("disabledSources");
  if (!disabled.IsArray()) {
    throw_type(options.Env(), "disabledSources: expected an array of strings");
    return settings;
  }
  const auto names = disabled.As<Napi::Array>();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    settings.disabled_sources.push_back(names.Get(i).ToString().Utf8Value());
  }
  if (settings.interval_ns == 0 || settings.node_interval_ns == 0) {
    throw_type(options.Env(), "intervalMs and nodeIntervalMs: expected at least 1");
  }
  return settings;
}

}  // namespace

Napi::Function SamplerObject::define(Napi::Env env) {
  return DefineClass(env, "Sampler",
                     {InstanceMethod<&SamplerObject::start>("start"),
                      InstanceMethod<&SamplerObject::rest>("rest"),
                      InstanceMethod<&SamplerObject::stop>("stop"),
                      InstanceMethod<&SamplerObject::open_run>("openRun"),
                      InstanceMethod<&SamplerObject::define_slot>("defineSlot"),
                      InstanceMethod<&SamplerObject::map_scope>("mapScope"),
                      InstanceMethod<&SamplerObject::map_device>("mapDevice"),
                      InstanceMethod<&SamplerObject::bind>("bind"),
                      InstanceMethod<&SamplerObject::enter>("enter"),
                      InstanceMethod<&SamplerObject::close_session>("closeSession"),
                      InstanceMethod<&SamplerObject::end_part>("endPart"),
                      InstanceMethod<&SamplerObject::close_run>("closeRun"),
                      InstanceMethod<&SamplerObject::name_gpu>("nameGpu"),
                      InstanceMethod<&SamplerObject::restore_slot>("restoreSlot"),
                      InstanceMethod<&SamplerObject::restore_run>("restoreRun"),
                      InstanceMethod<&SamplerObject::restore_process>("restoreProcess"),
                      InstanceMethod<&SamplerObject::pull>("pull"),
                      InstanceMethod<&SamplerObject::sources>("sources"),
                      InstanceMethod<&SamplerObject::heartbeat>("heartbeat"),
                      InstanceMethod<&SamplerObject::node_figures>("nodeFigures")});
}

SamplerObject::SamplerObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SamplerObject>(info) {
  Napi::Object options;
  if (!object_argument(info, options)) return;
  const SamplerSettings settings = settings_of(options);
  const std::chrono::milliseconds timeout(u32_member(options, "pullTimeoutMs"));
  if (info.Env().IsExceptionPending()) return;
  KeptBefore kept = kept_of(options);
  if (info.Env().IsExceptionPending()) return;
  // Sockets and files are opened by the thread that will read them.
  Sources sources;
  with_capabilities([&] {
    sources = open_sources(settings.proc_root, settings.sys_root, settings.disabled_sources,
                           std::move(kept));
  });
  if (!sources.proc_root.valid()) {
    throw_type(info.Env(), "procRoot " + settings.proc_root + ": cannot be opened");
    return;
  }
  if (const Napi::Value gpus = options.Get("gpus"); gpus.IsObject())
    sources.gpus = GpuPollerObject::Unwrap(gpus.As<Napi::Object>())->poller();
  with_capabilities([&] { sampler_ = std::make_shared<Sampler>(settings, std::move(sources)); });
  pulls_ = std::make_shared<Pulls>();
  pulls_->sampler = sampler_;
  pulls_->timeout = timeout;
  // The thread must be gone before the environment is.
  napi_add_env_cleanup_hook(info.Env(), stop_with_environment, sampler_.get());
}

// The hook goes with the object: else every sampler that ever was would wait for the environment's end.
SamplerObject::~SamplerObject() {
  if (sampler_) napi_remove_env_cleanup_hook(Env(), stop_with_environment, sampler_.get());
}

Napi::Value SamplerObject::start(const Napi::CallbackInfo& info) {
  std::string error;
  if (!sampler_->start(&error)) Napi::Error::New(info.Env(), error).ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value SamplerObject::rest(const Napi::CallbackInfo& info) {
  sampler_->rest();
  return info.Env().Undefined();
}

Napi::Value SamplerObject::stop(const Napi::CallbackInfo& info) {
  bool lossless = false;
  const uint64_t stored_ns =
      info[0].IsBigInt() ? info[0].As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  auto* worker = new StopWorker(info.Env(), sampler_, stored_ns);  // deletes itself
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

Napi::Value SamplerObject::open_run(const Napi::CallbackInfo& info) {
  uint32_t at[2];
  if (!u32_arguments(info, 2, at)) return info.Env().Undefined();
  sampler_->post([run = at[0], slot = at[1]](Engine& engine) { engine.open_run(run, slot); });
  return info.Env().Undefined();
}

Napi::Value SamplerObject::define_slot(const Napi::CallbackInfo& info) {
  uint32_t at[3];
  if (!u32_arguments(info, 3, at)) return info.Env().Undefined();
  sampler_->post([slot = at[0], run = at[1], parent = at[2]](Engine& engine) {
    engine.define_slot(slot, run, parent);
  });
  return info.Env().Undefined();
}

Napi::Value SamplerObject::map_scope(const Napi::CallbackInfo& info) {
  uint32_t at[3];
  if (!u32_arguments(info, 3, at)) return info.Env().Undefined();
  sampler_->post([session = at[0], scope = at[1], slot = at[2]](Engine& engine) {
    engine.map_scope(session, scope, slot);
  });
  return info.Env().Undefined();
}

// session, the client's index, UUID
Napi::Value SamplerObject::map_device(const Napi::CallbackInfo& info) {
  uint32_t at[2];
  if (!u32_arguments(info, 2, at)) return info.Env().Undefined();
  std::string uuid;
  if (!text_argument(info, 2, uuid)) return info.Env().Undefined();
  sampler_->post([session = at[0], index = at[1], uuid](Engine& engine) {
    engine.map_device(session, index, uuid);
  });
  return info.Env().Undefined();
}

// number, UUID
Napi::Value SamplerObject::name_gpu(const Napi::CallbackInfo& info) {
  uint32_t gpu = 0;
  std::string uuid;
  if (!u32_arguments(info, 1, &gpu) || !text_argument(info, 1, uuid)) return info.Env().Undefined();
  sampler_->post([gpu, uuid](Engine& engine) { engine.name_gpu(gpu, uuid); });
  return info.Env().Undefined();
}

Napi::Value SamplerObject::bind(const Napi::CallbackInfo& info) {
  Napi::Object options;
  if (!object_argument(info, options)) return info.Env().Undefined();
  const Napi::Value process = options.Get("process");
  if (!process.IsObject()) {
    throw_type(info.Env(), "process: expected an object");
    return info.Env().Undefined();
  }
  BindCommand command;
  command.session = u32_member(options, "session");
  command.pid = static_cast<int>(u32_member(process.As<Napi::Object>(), "pid"));
  command.start_ticks = u64_member(process.As<Napi::Object>(), "startTicks");
  command.run = u32_member(options, "run");
  command.birth_slot = u32_member(options, "birthSlot");
  command.primary_tid = static_cast<int>(u32_member(options, "primaryTid"));
  command.clock_offset_ns = i64_member(options, "clockOffsetNs");
  const std::string token = string_member(options, "token");
  if (!info.Env().IsExceptionPending()) sampler_->post_bind(command, token);
  return info.Env().Undefined();
}

Napi::Value SamplerObject::enter(const Napi::CallbackInfo& info) {
  uint32_t at[3];
  if (!u32_arguments(info, 3, at)) return info.Env().Undefined();
  bool lossless = false;
  const uint64_t t_ns = info[3].IsBigInt() ? info[3].As<Napi::BigInt>().Uint64Value(&lossless) : 0;
  if (!lossless || !info[4].IsBoolean()) {
    throw_type(info.Env(), "arguments 4 and 5: expected a bigint and a boolean");
    return info.Env().Undefined();
  }
  const EnterCommand command{at[0], static_cast<int>(at[1]), at[2], t_ns,
                             info[4].As<Napi::Boolean>().Value()};
  sampler_->post([command](Engine& engine) { engine.enter(command); });
  return info.Env().Undefined();
}

Napi::Value SamplerObject::close_session(const Napi::CallbackInfo& info) {
  uint32_t session = 0;
  if (u32_arguments(info, 1, &session)) sampler_->close_session(session);
  return info.Env().Undefined();
}

Napi::Value SamplerObject::end_part(const Napi::CallbackInfo& info) {
  Napi::Object process;
  if (!object_argument(info, process)) return info.Env().Undefined();
  const int pid = static_cast<int>(u32_member(process, "pid"));
  const uint64_t start = u64_member(process, "startTicks");
  std::set<ProcessId> own_parts = processes_argument(info);
  if (info.Env().IsExceptionPending()) return info.Env().Undefined();
  sampler_->post([pid, start, own_parts = std::move(own_parts)](
                     Engine& engine) { engine.end_part(pid, start, own_parts); },
                 true);
  return info.Env().Undefined();
}

Napi::Value SamplerObject::close_run(const Napi::CallbackInfo& info) {
  uint32_t run = 0;
  if (!u32_arguments(info, 1, &run)) return info.Env().Undefined();
  sampler_->post([run](Engine& engine) { engine.close_run(run); }, true);
  return info.Env().Undefined();
}

Napi::Value SamplerObject::restore_slot(const Napi::CallbackInfo& info) {
  FrameRow row;
  if (!row_argument(info, row)) return info.Env().Undefined();
  sampler_->post([row](Engine& engine) { engine.restore_slot(row); });
  return info.Env().Undefined();
}

Napi::Value SamplerObject::restore_run(const Napi::CallbackInfo& info) {
  FrameRow row;
  std::string state;
  if (!row_argument(info, row) || !buffer_argument(info, 1, state)) return info.Env().Undefined();
  sampler_->post([row, state](Engine& engine) { engine.restore_run(row, state); });
  return info.Env().Undefined();
}

Napi::Value SamplerObject::restore_process(const Napi::CallbackInfo& info) {
  uint32_t run = 0;
  std::string state;
  if (!u32_arguments(info, 1, &run) || !buffer_argument(info, 1, state))
    return info.Env().Undefined();
  sampler_->post([run, state](Engine& engine) { engine.restore_process(run, state); });
  return info.Env().Undefined();
}

Napi::Value SamplerObject::pull(const Napi::CallbackInfo& info) {
  if (!info[0].IsBoolean()) {
    throw_type(info.Env(), "argument 1: expected a boolean");
    return info.Env().Undefined();
  }
  auto* worker =
      new PullWorker(info.Env(), pulls_, info[0].As<Napi::Boolean>().Value());  // deletes itself
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

Napi::Value SamplerObject::sources(const Napi::CallbackInfo& info) {
  return to_js(info.Env(), sampler_->source_statuses());
}

Napi::Value SamplerObject::heartbeat(const Napi::CallbackInfo& info) {
  return big(info.Env(), sampler_->heartbeat());
}

Napi::Value SamplerObject::node_figures(const Napi::CallbackInfo& info) {
  return to_js(info.Env(), sampler_->node_figures());
}

}  // namespace lezea
