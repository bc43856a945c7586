// See unreaped_child.h.

#include "addon/unreaped_child.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "addon/values.h"
#include "base/unique_fd.h"

namespace lezea {
namespace {

constexpr int kHoldDescriptor = 3;

struct Command {
  std::string file;
  std::vector<std::string> argv;
  std::vector<std::string> env;
};

std::vector<std::string> strings(const Napi::Value& value) {
  std::vector<std::string> out;
  const Napi::Array array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(array.Get(i).ToString().Utf8Value());
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(&text[0]);
  out.push_back(nullptr);
  return out;
}

// What a program expects of its standard streams, whatever this one made of them: libuv does the same.
void make_streams_blocking() {
  for (int fd = 0; fd <= 2; ++fd) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) != 0) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
}

// 0, or the errno of what failed.
int spawn(Command& command, int hold, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t all;
  sigset_t none;
  std::memset(&all, 0xff,
              sizeof(all));  // sigfillset() leaves glibc's own two out, which would be ignored then
  sigemptyset(&none);
  posix_spawn_file_actions_init(&actions);
  // Node marks its standard streams to be closed in every program; onto itself, glibc takes the mark off.
  for (int fd = 0; fd <= 2; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) posix_spawn_file_actions_adddup2(&actions, fd, fd);
  }
  posix_spawn_file_actions_adddup2(&actions, hold, kHoldDescriptor);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  const int error = posix_spawn(pid, command.file.c_str(), &actions, &attributes,
                                pointers(command.argv).data(), pointers(command.env).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

struct Ending {
  int code = -1;  // exit status, or -1
  int signal = 0;
};

// Blocks until the child has ended, and leaves it as it is.
Ending await_end(pid_t pid) {
  siginfo_t info{};
  int done = 0;
  do {
    done = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  } while (done != 0 && errno == EINTR);
  if (done != 0) return {};  // somebody else reaped it
  if (info.si_code == CLD_EXITED) return {info.si_status, 0};
  return {-1, info.si_status};
}

// False where no thread can be made.
bool tell_end(pid_t pid, const Napi::Function& on_end) {
  auto told = Napi::ThreadSafeFunction::New(on_end.Env(), on_end, "lezea child", 1, 1);
  try {
    std::thread([pid, told]() mutable {
      const Ending ending = await_end(pid);
      told.BlockingCall([ending](Napi::Env env, Napi::Function callback) {
        callback.Call({Napi::Number::New(env, ending.code), Napi::Number::New(env, ending.signal)});
      });
      told.Release();
    }).detach();
    return true;
  } catch (const std::system_error&) {
    told.Release();
    return false;
  }
}

void throw_errno(Napi::Env env, const std::string& what, int error) {
  Napi::Error::New(env, what + ": " + std::strerror(error)).ThrowAsJavaScriptException();
}

}  // namespace

Napi::Value spawn_unreaped(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString() || !info[1].IsArray() || !info[2].IsArray() || !info[3].IsFunction()) {
    throw_type(env, "expected a file, its arguments, an environment and a function");
    return env.Undefined();
  }
  Command command{info[0].As<Napi::String>().Utf8Value(), strings(info[1]), strings(info[2])};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw_errno(env, "a pipe cannot be made", errno);
    return env.Undefined();
  }
  const UniqueFd child_end(ends[0]);
  UniqueFd hold(ends[1]);
  make_streams_blocking();
  pid_t pid = 0;
  int error = spawn(command, child_end.get(), &pid);
  if (error == 0 && !tell_end(pid, info[3].As<Napi::Function>())) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    error = EAGAIN;
  }
  if (error != 0) {
    throw_errno(env, command.file + " cannot be started", error);
    return env.Undefined();
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("pid", pid);
  out.Set("hold", hold.release());
  return out;
}

Napi::Value reap_child(const Napi::CallbackInfo& info) {
  const int pid = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : 0;
  // At once: it has ended. Nought would be any child.
  if (pid > 0)
    waitpid(pid, nullptr, WNOHANG);
  else
    throw_type(info.Env(), "argument 1: expected a pid");
  return info.Env().Undefined();
}

}  // namespace lezea
