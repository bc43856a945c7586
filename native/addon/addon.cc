// What the module exports: the Sampler and GpuPoller classes, facts about processes and peers, child
// processes, and the columns. JavaScript thread only; owns nothing.

#include <fcntl.h>
#include <napi.h>

#include "addon/gpu_poller_object.h"
#include "addon/sampler_object.h"
#include "addon/unreaped_child.h"
#include "addon/values.h"
#include "netlink/pid_info.h"
#include "procfs/pid_cgroup.h"
#include "procfs/process_files.h"
#include "scope/peer.h"
#include "service/capable_thread.h"
#include "service/descriptor_store.h"
#include "service/notify.h"

namespace lezea {
namespace {

UniqueFd open_proc() { return UniqueFd(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)); }

int pid_argument(const Napi::CallbackInfo& info, const char* what) {
  const double number = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
  if (number >= 0 && number <= INT32_MAX) return static_cast<int>(number);
  throw_type(info.Env(), std::string("argument 1: expected ") + what);
  return -1;
}

Napi::Value peer_credentials(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = pid_argument(info, "a file descriptor");
  if (fd < 0) return env.Undefined();
  const Result<Peer> peer = peer_of(fd, open_proc().get());
  if (!peer.ok()) {
    const std::string why =
        std::string("the peer of this socket cannot be named: ") + name(peer.status);
    Napi::Error::New(env, why).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("pid", peer.value.pid);
  out.Set("uid", static_cast<double>(peer.value.uid));
  out.Set("gid", static_cast<double>(peer.value.gid));
  out.Set("startTicks", big(env, peer.value.start_ticks));
  out.Set("pidNamespace", big(env, peer.value.pid_namespace));
  return out;
}

void set_workload(Napi::Object& out, ProcessFiles& files) {
  const Result<std::string> text = files.cgroup_text();
  const Result<WorkloadIdentity> workload =
      text.ok() ? parse_workload_identity(text.value) : Result<WorkloadIdentity>::fail(text.status);
  out.Set("cgroup", workload.ok() ? workload.value.cgroup : "");
  if (!workload.ok()) return;
  if (workload.value.unit) out.Set("unit", *workload.value.unit);
  if (workload.value.container_id) out.Set("containerId", *workload.value.container_id);
  if (workload.value.slurm_job_id) out.Set("slurmJobId", *workload.value.slurm_job_id);
}

Napi::Value process_identity(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int pid = pid_argument(info, "a pid");
  if (pid < 0) return env.Undefined();
  Result<ProcessFiles> files = ProcessFiles::open(open_proc().get(), pid);
  if (!files.ok()) return env.Undefined();
  const Result<PidStatus> status = files.value.status();
  const Result<PidStat> stat = files.value.stat();
  if (!stat.ok() || !status.ok()) return env.Undefined();
  const Result<uint64_t> pid_namespace = files.value.pid_namespace();
  const Result<int64_t> offset = files.value.monotonic_offset_ns();
  const Result<std::string> exe = files.value.exe();
  Napi::Object out = Napi::Object::New(env);
  Napi::Object id = Napi::Object::New(env);
  id.Set("pid", pid);
  id.Set("startTicks", big(env, stat.value.start_ticks));
  out.Set("process", id);
  out.Set("uid", static_cast<double>(status.value.uid));
  out.Set("ppid", stat.value.ppid);
  // A leader that has ended before its other threads is listed as a zombie too.
  out.Set("ended", stat.value.state == 'Z' && stat.value.threads <= 1);
  out.Set("pidNamespace", big(env, pid_namespace.ok() ? pid_namespace.value : 0));
  out.Set("clockOffsetNs", Napi::BigInt::New(env, offset.ok() ? offset.value : int64_t{0}));
  out.Set("exe", exe.ok() ? exe.value : "");
  out.Set("comm", stat.value.comm);
  set_workload(out, files.value);
  return out;
}

// Opened first, read then: whoever has the pid by now is another process, and is left alone. So is
// one of another user's, whom the run's owner could not signal either.
ReadStatus signal_exactly(int pid, uint64_t start_ticks, uint32_t uid, int signal) {
  const Result<UniqueFd> pidfd = open_pidfd(pid);
  if (!pidfd.ok()) return pidfd.status;
  Result<ProcessFiles> files = ProcessFiles::open(open_proc().get(), pid);
  if (!files.ok()) return files.status;
  const Result<PidStatus> status = files.value.status();
  const Result<PidStat> stat = files.value.stat();
  if (!stat.ok()) return stat.status;
  if (!status.ok()) return status.status;
  if (stat.value.start_ticks != start_ticks) return ReadStatus::kGone;
  if (status.value.uid != uid) return ReadStatus::kDenied;
  return send_signal(pidfd.value.get(), signal);
}

Napi::Value signal_process(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) {
    throw_type(env, "argument 1: expected an object");
    return env.Undefined();
  }
  const auto target = info[0].As<Napi::Object>();
  const uint32_t pid = u32_member(target, "pid");
  const uint64_t start_ticks = u64_member(target, "startTicks");
  const uint32_t uid = u32_member(target, "uid");
  const uint32_t signal = u32_member(target, "signal");
  if (env.IsExceptionPending()) return env.Undefined();
  const ReadStatus status =
      signal_exactly(static_cast<int>(pid), start_ticks, uid, static_cast<int>(signal));
  return Napi::String::New(env, name(status));
}

Napi::Value monotonic_ns(const Napi::CallbackInfo& info) {
  return big(info.Env(), SystemClock().monotonic_ns());
}

Napi::Value boot_id(const Napi::CallbackInfo& info) {
  const UniqueFd file(open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  char text[37] = {};
  if (!file.valid() || read(file.get(), text, 36) != 36) {
    Napi::Error::New(info.Env(), "/proc/sys/kernel/random/boot_id cannot be read")
        .ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  return Napi::String::New(info.Env(), text);
}

Napi::Value columns(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env(), kColumns.size());
  for (uint32_t i = 0; i < kColumns.size(); ++i) {
    Napi::Object column = Napi::Object::New(info.Env());
    column.Set("name", kColumns[i].name);
    column.Set("word", kColumns[i].word);
    column.Set("words", kColumns[i].words);
    out.Set(i, column);
  }
  return out;
}

Napi::Value frame_words(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), kFrameWords);
}

Napi::Value tick_buckets_ns(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env(), kTickBucketsNs.size());
  for (uint32_t i = 0; i < kTickBucketsNs.size(); ++i)
    out.Set(i, big(info.Env(), kTickBucketsNs[i]));
  return out;
}

Napi::Value probe_sources(const Napi::CallbackInfo& info) {
  std::vector<std::string> disabled;
  if (info[0].IsArray()) {
    const auto names = info[0].As<Napi::Array>();
    for (uint32_t i = 0; i < names.Length(); ++i)
      disabled.push_back(names.Get(i).ToString().Utf8Value());
  }
  return to_js(info.Env(), open_sources("/proc", "/sys", disabled).statuses);
}

// address, message
Napi::Value notify(const Napi::CallbackInfo& info) {
  if (!info[0].IsString() || !info[1].IsString()) {
    throw_type(info.Env(), "arguments 1 and 2: expected strings");
    return info.Env().Undefined();
  }
  const std::string why = notify_service(info[0].As<Napi::String>().Utf8Value(),
                                         info[1].As<Napi::String>().Utf8Value());
  if (!why.empty()) Napi::Error::New(info.Env(), why).ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value guard_passed(const Napi::CallbackInfo& info) {
  const double count = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
  if (count >= 0 && count <= INT32_MAX) {
    guard_passed_descriptors(static_cast<size_t>(count));
  } else {
    throw_type(info.Env(), "argument 1: expected how many descriptors");
  }
  return info.Env().Undefined();
}

Napi::Value confine(const Napi::CallbackInfo& info) {
  std::string error;
  const uint64_t kept = confine_capabilities(&error);
  if (!error.empty()) Napi::Error::New(info.Env(), error).ThrowAsJavaScriptException();
  return big(info.Env(), kept);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Sampler", SamplerObject::define(env));
  exports.Set("GpuPoller", GpuPollerObject::define(env));
  exports.Set("peerCredentials", Napi::Function::New<peer_credentials>(env));
  exports.Set("processIdentity", Napi::Function::New<process_identity>(env));
  exports.Set("signalProcess", Napi::Function::New<signal_process>(env));
  exports.Set("monotonicNs", Napi::Function::New<monotonic_ns>(env));
  exports.Set("bootId", Napi::Function::New<boot_id>(env));
  exports.Set("columns", Napi::Function::New<columns>(env));
  exports.Set("frameWords", Napi::Function::New<frame_words>(env));
  exports.Set("tickBucketsNs", Napi::Function::New<tick_buckets_ns>(env));
  exports.Set("probeSources", Napi::Function::New<probe_sources>(env));
  exports.Set("confineCapabilities", Napi::Function::New<confine>(env));
  exports.Set("guardPassedDescriptors", Napi::Function::New<guard_passed>(env));
  exports.Set("spawnUnreaped", Napi::Function::New<spawn_unreaped>(env));
  exports.Set("reapChild", Napi::Function::New<reap_child>(env));
  exports.Set("notifyService", Napi::Function::New<notify>(env));
  return exports;
}

}  // namespace
}  // namespace lezea

static Napi::Object register_module(Napi::Env env, Napi::Object exports) {
  return lezea::init(env, exports);
}

NODE_API_MODULE(lezea_monitor, register_module)
