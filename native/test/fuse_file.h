// A file of a FUSE file system whose daemon never answers a flush, so that close(2) of it hangs until
// the file system is taken away. Speaks just enough of /dev/fuse (linux/fuse.h) for one file to be
// opened. Needs root; valid() is false where the machine has no FUSE or lets nobody mount.
#pragma once

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace lezea::test {

class HungFuseFile {
 public:
  HungFuseFile() {
    std::string folder = "/tmp/lezea-fuse-XXXXXX";
    if (::mkdtemp(folder.data()) == nullptr) return;
    folder_ = folder;
    device_.reset(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    const std::string options =
        "fd=" + std::to_string(device_.get()) + ",rootmode=40000,user_id=0,group_id=0";
    mounted_ = device_ && ::mount("lezea-test", folder_.c_str(), "fuse", MS_NOSUID | MS_NODEV,
                                  options.c_str()) == 0;
    if (!mounted_) return;
    daemon_ = std::thread([this] { serve(); });
    file_.reset(::open((folder_ + "/hung").c_str(), O_RDWR | O_CLOEXEC));
  }
  ~HungFuseFile() {
    release();
    if (!folder_.empty()) ::rmdir(folder_.c_str());
  }
  HungFuseFile(const HungFuseFile&) = delete;
  HungFuseFile& operator=(const HungFuseFile&) = delete;

  bool valid() const { return file_.valid(); }
  int fd() const { return file_.get(); }
  // How many closes have been waiting, ever.
  int flushes() const { return flushes_; }

  // Takes the file system away: whoever hangs in it gets an error.
  void release() {
    if (!mounted_) return;
    mounted_ = false;
    ::umount2(folder_.c_str(), MNT_FORCE);  // ends the connection, also where the mount is busy
    ::umount2(folder_.c_str(), MNT_DETACH);
    daemon_.join();
    file_.reset();
  }

 private:
  static constexpr uint64_t kFileNode = 2;

  void serve() {
    std::vector<char> request(FUSE_MIN_READ_BUFFER);
    for (;;) {
      const ssize_t got = ::read(device_.get(), request.data(), request.size());
      if (got < 0 && (errno == EINTR || errno == ENOENT)) continue;  // given up before it was read
      if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) return;
      fuse_in_header header;
      std::memcpy(&header, request.data(), sizeof header);
      answer(header);
    }
  }

  void answer(const fuse_in_header& header) {
    switch (header.opcode) {
      case FUSE_INIT: {
        fuse_init_out out{};
        out.major = FUSE_KERNEL_VERSION;
        out.minor = 31;
        out.max_write = 4096;
        return reply(header, out);
      }
      case FUSE_LOOKUP: {
        fuse_entry_out out{};
        out.nodeid = kFileNode;
        out.attr = attributes(kFileNode);
        return reply(header, out);
      }
      case FUSE_GETATTR: {
        fuse_attr_out out{};
        out.attr = attributes(header.nodeid);
        return reply(header, out);
      }
      case FUSE_OPEN:
        return reply(header, fuse_open_out{});
      case FUSE_FLUSH:
        ++flushes_;
        return;  // for ever
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
        return;  // nobody waits for an answer
      default:
        return refuse(header);
    }
  }

  static fuse_attr attributes(uint64_t node) {
    fuse_attr attr{};
    attr.ino = node;
    attr.mode = node == kFileNode ? S_IFREG | 0644 : S_IFDIR | 0755;
    attr.nlink = 1;
    attr.size = 1 << 20;
    return attr;
  }

  template <class Body>
  void reply(const fuse_in_header& header, const Body& body) {
    std::vector<char> bytes(sizeof(fuse_out_header) + sizeof body);
    const fuse_out_header out{static_cast<uint32_t>(bytes.size()), 0, header.unique};
    std::memcpy(bytes.data(), &out, sizeof out);
    std::memcpy(bytes.data() + sizeof out, &body, sizeof body);
    (void)!::write(device_.get(), bytes.data(), bytes.size());
  }

  void refuse(const fuse_in_header& header) {
    const fuse_out_header out{sizeof out, -ENOSYS, header.unique};
    (void)!::write(device_.get(), &out, sizeof out);
  }

  std::string folder_;
  UniqueFd device_;
  bool mounted_ = false;
  std::atomic<int> flushes_{0};
  std::thread daemon_;
  UniqueFd file_;
};

}  // namespace lezea::test
