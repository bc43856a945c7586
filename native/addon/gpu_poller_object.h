// The GpuPoller class that JavaScript sees: one poller, and its snapshots as objects. JavaScript thread only; no call waits
// for the driver.

#pragma once

#include <napi.h>

#include <memory>

#include "nvml/gpu_poller.h"

namespace lezea {

class GpuPollerObject : public Napi::ObjectWrap<GpuPollerObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit GpuPollerObject(const Napi::CallbackInfo& info);

  // For the sampler, which takes its snapshots on a thread of its own.
  std::shared_ptr<nvml::GpuPoller> poller() const { return poller_; }

 private:
  Napi::Value snapshot(const Napi::CallbackInfo& info);
  Napi::Value refresh(const Napi::CallbackInfo& info);
  Napi::Value stop(const Napi::CallbackInfo& info);

  std::shared_ptr<nvml::GpuPoller> poller_;  // null once it is stopped
};

}  // namespace lezea
