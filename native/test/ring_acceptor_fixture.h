// A ring acceptor with one session, for its tests; and how many descriptors this process has of a file.
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "check.h"
#include "ring_client.h"
#include "ring_writer.h"
#include "scope/ring_acceptor.h"

namespace lezea {

// An acceptor with one session, which is this process, and what it handed over.
struct Fixture {
  explicit Fixture(RingAcceptorOptions options = {}, RingAcceptor::Check check = RingFile::adopt)
      : acceptor(
            with_path(std::move(options)), [this](const std::string& token) { return find(token); },
            [this](uint32_t session, RingFile&& ring, std::string* why) {
              return deliver(session, std::move(ring), why);
            },
            std::move(check)) {
    std::string error;
    CHECK(acceptor.start(&error));
    CHECK_EQ(error, std::string());
  }

  RingAcceptorOptions with_path(RingAcceptorOptions options) const {
    options.path = folder.socket();
    return options;
  }
  std::optional<RingOwner> find(const std::string& token) {
    std::lock_guard<std::mutex> lock(mutex);
    auto found = owners.find(token);
    if (found == owners.end()) return std::nullopt;
    return found->second;
  }
  bool deliver(uint32_t session, RingFile&& ring, std::string* why) {
    std::lock_guard<std::mutex> lock(mutex);
    if (!refuse_with.empty()) {
      *why = refuse_with;
      return false;
    }
    rings.emplace_back(session, std::move(ring));
    return true;
  }
  std::string offer_ring(const RingWriter& writer) {
    return offer(folder.socket(), offer_of(kToken), {writer.fd()});
  }
  size_t delivered() {
    std::lock_guard<std::mutex> lock(mutex);
    return rings.size();
  }
  bool idle() { return acceptor.counters().connections == 0; }

  Folder folder;
  std::mutex mutex;
  std::map<std::string, RingOwner> owners{{kToken, RingOwner{7, ::getpid()}}};
  std::vector<std::pair<uint32_t, RingFile>> rings;
  std::string refuse_with;
  RingAcceptor acceptor;  // last: its threads use the rest
};

// How many descriptors of this process are of the file that `fd` is of.
inline size_t descriptors_like(int fd) {
  struct stat wanted{};
  ::fstat(fd, &wanted);
  size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (dirent* entry = ::readdir(folder)) {
    struct stat file{};
    // By name, not by number: most are other threads', who may be closing them.
    if (::fstatat(::dirfd(folder), entry->d_name, &file, 0) != 0) continue;
    if (file.st_dev == wanted.st_dev && file.st_ino == wanted.st_ino) count++;
  }
  ::closedir(folder);
  return count;
}

}  // namespace lezea
