// A file descriptor that is closed exactly once. Owns the descriptor; -1 means none.
#pragma once

#include <unistd.h>

#include <type_traits>

namespace lezea {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() { reset(); }

  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }

  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }

  // Idempotent. close() is never retried: Linux frees the descriptor even when it reports EINTR.
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

static_assert(!std::is_copy_constructible<UniqueFd>::value, "a descriptor has one owner");
static_assert(!std::is_copy_assignable<UniqueFd>::value, "a descriptor has one owner");
static_assert(std::is_nothrow_move_constructible<UniqueFd>::value, "containers must move it");

}  // namespace lezea
