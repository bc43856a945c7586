// The Sampler class that JavaScript sees: argument checks, then one call of the core. JavaScript thread only.

#pragma once

#include <napi.h>

#include <chrono>
#include <deque>
#include <future>
#include <memory>

#include "sampler/sampler.h"

namespace lezea {

// What pulls share with their sampler. The deque is the JavaScript thread's.
struct Pulls {
  std::shared_ptr<Sampler> sampler;
  std::chrono::milliseconds timeout;
  // Snapshots whose pulls gave up waiting, oldest first.
  std::deque<std::future<Snapshot>> late;
};

class SamplerObject : public Napi::ObjectWrap<SamplerObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit SamplerObject(const Napi::CallbackInfo& info);
  ~SamplerObject() override;

 private:
  Napi::Value start(const Napi::CallbackInfo& info);
  Napi::Value rest(const Napi::CallbackInfo& info);
  Napi::Value stop(const Napi::CallbackInfo& info);
  Napi::Value open_run(const Napi::CallbackInfo& info);
  Napi::Value define_slot(const Napi::CallbackInfo& info);
  Napi::Value map_scope(const Napi::CallbackInfo& info);
  Napi::Value map_device(const Napi::CallbackInfo& info);
  Napi::Value bind(const Napi::CallbackInfo& info);
  Napi::Value enter(const Napi::CallbackInfo& info);
  Napi::Value close_session(const Napi::CallbackInfo& info);
  Napi::Value end_part(const Napi::CallbackInfo& info);
  Napi::Value close_run(const Napi::CallbackInfo& info);
  Napi::Value name_gpu(const Napi::CallbackInfo& info);
  Napi::Value restore_slot(const Napi::CallbackInfo& info);
  Napi::Value restore_run(const Napi::CallbackInfo& info);
  Napi::Value restore_process(const Napi::CallbackInfo& info);
  Napi::Value pull(const Napi::CallbackInfo& info);
  Napi::Value sources(const Napi::CallbackInfo& info);
  Napi::Value heartbeat(const Napi::CallbackInfo& info);
  Napi::Value node_figures(const Napi::CallbackInfo& info);

  // Shared with the workers that wait for a snapshot or for the thread to end.
  std::shared_ptr<Sampler> sampler_;
  std::shared_ptr<Pulls> pulls_;
};

}  // namespace lezea
