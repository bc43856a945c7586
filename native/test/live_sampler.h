// The real sampler on the live /proc, with a ring socket in a folder of its own and this process as its
// client. What the machine must allow for more than that (netlink, cgroups) is left out.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "check.h"
#include "procfs/process_files.h"
#include "ring_client.h"
#include "sampler/sampler.h"

namespace lezea::test {

inline uint64_t start_ticks_of(int pid) {
  const UniqueFd proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Result<ProcessFiles> files = ProcessFiles::open(proc.get(), pid);
  return files.ok() ? files.value.stat().value.start_ticks : 0;
}

// The token of a session's number.
inline std::string token_of(uint32_t session) {
  std::string digits = std::to_string(session);
  return std::string(32 - digits.size(), '0') + digits;
}

class LiveSampler {
 public:
  explicit LiveSampler(uint64_t interval_ns = 2'000'000) {
    SamplerSettings settings;
    settings.proc_root = "/proc";
    settings.sys_root = "/sys";
    settings.interval_ns = interval_ns;
    settings.node_interval_ns = interval_ns;
    settings.ring_socket = folder.socket();
    settings.ring_socket_mode = 0666;
    Sources sources;
    sources.clock = std::make_unique<SystemClock>();
    sources.proc_root.reset(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // own_pid stays 0: this process is to be in a run, which the agent's own never is.
    sources.pidfd_info = false;
    sampler = std::make_unique<Sampler>(std::move(settings), std::move(sources));
  }

  bool start() {
    std::string error;
    const bool started = sampler->start(&error);
    CHECK_EQ(error, std::string());
    return started;
  }

  // A run with two scopes and a process bound to it by a session of the same number.
  void open_run(uint32_t number, int pid = ::getpid()) {
    const uint32_t slot = number * 10;
    sampler->post([number, slot](Engine& engine) {
      engine.open_run(number, slot);
      engine.define_slot(slot + 1, number, 0);
      engine.define_slot(slot + 2, number, slot + 1);
    });
    BindCommand command;
    command.session = number;
    command.pid = pid;
    command.start_ticks = start_ticks_of(pid);
    command.run = number;
    command.birth_slot = slot + 1;
    command.primary_tid = pid;
    sampler->post_bind(command, token_of(number));
    sampler->post([number, slot](Engine& engine) {
      for (const uint32_t scope : {1u, 2u}) engine.map_scope(number, scope, slot + scope);
    });
  }

  void close_run(uint32_t number) {
    sampler->close_session(number);
    sampler->post([number](Engine& engine) { engine.close_run(number); }, true);
  }

  std::string offer_ring(uint32_t session, int fd) {
    return offer(folder.socket(), offer_of(token_of(session)), {fd});
  }

  Folder folder;
  std::unique_ptr<Sampler> sampler;
};

}  // namespace lezea::test
