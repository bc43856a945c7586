// The outcome of reading one thing from the kernel: a value, or the reason there is none.
// Owns nothing. Unknown is a status, never a zero.
#pragma once

#include <cerrno>
#include <utility>

namespace lezea {

enum class ReadStatus {
  kOk,
  kGone,         // the process, thread or cgroup has ended; expected, counted, not logged
  kDenied,       // the kernel refused: a privilege is missing
  kUnsupported,  // this kernel or machine does not have it, or an unexpected failure
  kMalformed,    // it was read but does not have the documented form
};

template <class T>
struct [[nodiscard]] Result {
  ReadStatus status = ReadStatus::kUnsupported;
  T value{};

  bool ok() const { return status == ReadStatus::kOk; }

  static Result of(T value) { return Result{ReadStatus::kOk, std::move(value)}; }
  static Result fail(ReadStatus status) { return Result{status, T{}}; }
  // For errno, read at once after the failed call.
  static Result fail_errno(int error);
};

// A missing file and a vanished process look alike in /proc (ENOENT at open, ESRCH at read).
inline ReadStatus status_of_errno(int error) {
  switch (error) {
    case ENOENT:
    case ESRCH:
    case ENODEV:  // a cgroup removed while its file was kept open
      return ReadStatus::kGone;
    case EACCES:
    case EPERM:
      return ReadStatus::kDenied;
    default:
      return ReadStatus::kUnsupported;
  }
}

template <class T>
Result<T> Result<T>::fail_errno(int error) {
  return fail(status_of_errno(error));
}

inline const char* name(ReadStatus status) {
  switch (status) {
    case ReadStatus::kOk:
      return "ok";
    case ReadStatus::kGone:
      return "gone";
    case ReadStatus::kDenied:
      return "denied";
    case ReadStatus::kUnsupported:
      return "unsupported";
    case ReadStatus::kMalformed:
      return "malformed";
  }
  return "unknown";
}

}  // namespace lezea
