// Preloaded into the agent: counts what it writes below one folder, and at a given one kills the process or lets some
// fail; moves its wall clock. Reads its orders from a page that is shared with the harness; owns nothing.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// The same order as WORDS in shim.py.
struct Orders {
  int64_t count;       // writes so far, over all processes
  int64_t kill_at;     // 0: never
  int64_t kill_how;    // 0 before the write, 1 after it, 2 in the middle of it
  int64_t killed;      // 1 once it has
  int64_t fail_from;   // 0: nothing fails
  int64_t fail_until;  // the first that does not
  int64_t fail_errno;
  int64_t failed;      // writes that failed
  int64_t clock_ns;    // added to the wall clock
};

static struct Orders* orders;
static char below[PATH_MAX];
static size_t below_length;

#define REAL(name) ((__typeof__(&name))real_##name())
#define FIND(name)                                  \
  static void* real_##name(void) {                  \
    static void* found;                             \
    if (!found) found = dlsym(RTLD_NEXT, #name);    \
    return found;                                   \
  }

__attribute__((constructor)) static void begin(void) {
  const char* page = getenv("LEZEA_FAULTS_ORDERS");
  const char* folder = getenv("LEZEA_FAULTS_BELOW");
  if (!page || !folder || !realpath(folder, below)) return;
  below_length = strlen(below);
  int fd = open(page, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* at = mmap(NULL, sizeof(struct Orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at != MAP_FAILED) orders = at;
}

static int is_below(const char* path) {
  return strncmp(path, below, below_length) == 0 && (path[below_length] == '/' || path[below_length] == 0);
}

static int fd_is_below(int fd) {
  if (!orders) return 0;
  char name[32], path[PATH_MAX];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(name, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return is_below(path);
}

static void die(void) {
  orders->killed = 1;
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

enum What { GO_ON, FAIL, DIE_AFTER, DIE_WITHIN };

// What is to become of a write that is about to happen.
static enum What next(void) {
  int64_t at = __atomic_add_fetch(&orders->count, 1, __ATOMIC_SEQ_CST);
  if (orders->kill_at && at == orders->kill_at) {
    if (orders->kill_how == 0) die();
    return orders->kill_how == 1 ? DIE_AFTER : DIE_WITHIN;
  }
  if (orders->fail_from && at >= orders->fail_from && at < orders->fail_until) {
    __atomic_add_fetch(&orders->failed, 1, __ATOMIC_SEQ_CST);
    errno = (int)orders->fail_errno;
    return FAIL;
  }
  return GO_ON;
}

// A write that has no middle.
#define WHOLE(inside, call)                                                     \
  do {                                                                          \
    enum What what = (orders && (inside)) ? next() : GO_ON;                     \
    if (what == FAIL) return -1;                                                \
    __typeof__(call) result = (call);                                           \
    if (what != GO_ON) die();                                                   \
    return result;                                                              \
  } while (0)

#define PARTED(fd, call, half)                                                  \
  do {                                                                          \
    enum What what = fd_is_below(fd) ? next() : GO_ON;                          \
    if (what == FAIL) return -1;                                                \
    __typeof__(call) result = what == DIE_WITHIN ? (half) : (call);             \
    if (what != GO_ON) die();                                                   \
    return result;                                                              \
  } while (0)

FIND(write) FIND(pwrite) FIND(pwrite64) FIND(writev) FIND(pwritev) FIND(pwritev64)
FIND(fsync) FIND(fdatasync) FIND(ftruncate) FIND(ftruncate64)
FIND(rename) FIND(unlink) FIND(mkdir) FIND(open) FIND(open64)
FIND(clock_gettime) FIND(gettimeofday) FIND(time)

ssize_t write(int fd, const void* data, size_t size) {
  PARTED(fd, REAL(write)(fd, data, size), REAL(write)(fd, data, size / 2));
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  PARTED(fd, REAL(pwrite)(fd, data, size, at), REAL(pwrite)(fd, data, size / 2, at));
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  PARTED(fd, REAL(pwrite64)(fd, data, size, at), REAL(pwrite64)(fd, data, size / 2, at));
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  PARTED(fd, REAL(writev)(fd, parts, count), REAL(writev)(fd, parts, count / 2));
}

ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t at) {
  PARTED(fd, REAL(pwritev)(fd, parts, count, at), REAL(pwritev)(fd, parts, count / 2, at));
}

ssize_t pwritev64(int fd, const struct iovec* parts, int count, off64_t at) {
  PARTED(fd, REAL(pwritev64)(fd, parts, count, at), REAL(pwritev64)(fd, parts, count / 2, at));
}

int fsync(int fd) { WHOLE(fd_is_below(fd), REAL(fsync)(fd)); }
int fdatasync(int fd) { WHOLE(fd_is_below(fd), REAL(fdatasync)(fd)); }
int ftruncate(int fd, off_t size) { WHOLE(fd_is_below(fd), REAL(ftruncate)(fd, size)); }
int ftruncate64(int fd, off64_t size) { WHOLE(fd_is_below(fd), REAL(ftruncate64)(fd, size)); }
int rename(const char* from, const char* to) { WHOLE(is_below(to), REAL(rename)(from, to)); }
int unlink(const char* path) { WHOLE(is_below(path), REAL(unlink)(path)); }
int mkdir(const char* path, mode_t mode) { WHOLE(is_below(path), REAL(mkdir)(path, mode)); }

// Opening is a write where it makes a file.
static int makes(const char* path, int flags) {
  return orders && (flags & O_CREAT) && is_below(path) && access(path, F_OK) != 0;
}

#define OPEN(name)                                                              \
  int name(const char* path, int flags, ...) {                                  \
    mode_t mode = 0;                                                            \
    if (flags & (O_CREAT | O_TMPFILE)) {                                        \
      va_list more;                                                             \
      va_start(more, flags);                                                    \
      mode = va_arg(more, mode_t);                                              \
      va_end(more);                                                             \
    }                                                                           \
    WHOLE(makes(path, flags), REAL(name)(path, flags, mode));                   \
  }
OPEN(open)
OPEN(open64)

int clock_gettime(clockid_t clock, struct timespec* now) {
  int result = REAL(clock_gettime)(clock, now);
  if (result == 0 && orders && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += orders->clock_ns / 1000000000;
  return result;
}

int gettimeofday(struct timeval* restrict now, void* restrict zone) {
  int result = REAL(gettimeofday)(now, zone);
  if (result == 0 && orders) now->tv_sec += orders->clock_ns / 1000000000;
  return result;
}

time_t time(time_t* where) {
  time_t now = REAL(time)(NULL) + (orders ? orders->clock_ns / 1000000000 : 0);
  if (where) *where = now;
  return now;
}
