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

 private:
  Napi::Value snapshot(const Napi::CallbackInfo& info);
  Napi::Value stop(const Napi::CallbackInfo& info);

  std::unique_ptr<nvml::GpuPoller> poller_;
};

}  // namespace lezea
