// Work that waits, away from the JavaScript thread. Owns nothing.

#pragma once

#include <napi.h>

namespace lezea {

// False while the environment ends: no JavaScript may run any more, and whoever waited has gone.
inline bool may_run_javascript(Napi::Env env) {
  napi_value object = nullptr;
  return napi_create_object(env, &object) == napi_ok &&
         napi_set_named_property(env, object, "probe", object) == napi_ok;
}

// Work on libuv's pool whose outcome nobody is told of when the environment has ended meanwhile: a
// worker thread that is terminated waits for it, and an answer would be a fatal error.
class PoolWorker : public Napi::AsyncWorker {
 protected:
  using Napi::AsyncWorker::AsyncWorker;
  void OnWorkComplete(Napi::Env env, napi_status status) override {
    const Napi::HandleScope scope(env);
    Napi::AsyncWorker::OnWorkComplete(env, may_run_javascript(env) ? status : napi_cancelled);
  }
};

}  // namespace lezea
