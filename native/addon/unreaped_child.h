// A child process whose end is told before anybody waits for it: until it is reaped its clocks and counters can still be
// read in /proc (the kernel keeps a zombie's). libuv's own children are reaped the moment they end. JavaScript thread,
// but for one thread a child that waits for its end.

#pragma once

#include <napi.h>

namespace lezea {

// spawnUnreaped(file, argv, env, onEnd) -> {pid, hold}: `hold` is the writing end of a pipe that the child has as
// descriptor 3. Signals are the child's as if nothing were ignored or blocked.
Napi::Value spawn_unreaped(const Napi::CallbackInfo& info);
// reapChild(pid): waits for a child that has ended.
Napi::Value reap_child(const Napi::CallbackInfo& info);

}  // namespace lezea
