// Whether a thread was switched out, without a system call.
//
// Where a thread's rseq area names a critical section, the kernel looks at that after every context
// switch of the thread and before every signal, and takes the name out when the thread is not inside
// (Linux, Documentation/userspace-api/rseq.rst, "legacy" mode). The section named here is empty, so
// that nobody is ever inside. In the optimised mode, which newer kernels and C libraries agree upon,
// a thread that waits by itself is not looked at: then none of this is used. Other users of the area
// put their own sections there: that reads as a switch.
#ifndef LEZEA_MONITOR_RSEQ_H_
#define LEZEA_MONITOR_RSEQ_H_

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

#if defined(__x86_64__)
#define RSEQ_SIGNATURE 0x53053053u
#elif defined(__aarch64__)
#define RSEQ_SIGNATURE 0xd428bc00u
#endif

// The parts of struct rseq that the kernel has always had.
typedef struct {
  uint32_t cpu_id_start;
  uint32_t cpu_id;
  uint64_t critical_section;  // its descriptor's address
} RseqArea;

typedef struct {
  uint32_t version;
  uint32_t flags;
  uint64_t start;
  uint64_t bytes;
  uint64_t abort;  // the four bytes before it are the signature
} __attribute__((aligned(32))) RseqSection;

static ptrdiff_t rseq_offset;        // of a thread's area from its thread pointer
static RseqSection rseq_no_section;  // filled by rseq_prepare

static volatile RseqArea* rseq_area(void) {
  char* thread;
#if defined(__x86_64__)
  __asm__("mov %%fs:0, %0" : "=r"(thread));
#elif defined(__aarch64__)
  __asm__("mrs %0, tpidr_el0" : "=r"(thread));
#else
  thread = NULL;
#endif
  return (volatile RseqArea*)(thread + rseq_offset);
}

// From here on the calling thread's switches show.
static void rseq_watch(void) { rseq_area()->critical_section = (uintptr_t)&rseq_no_section; }

// Whether the calling thread has been on its CPU ever since rseq_watch().
static int rseq_never_switched(void) {
  return rseq_area()->critical_section == (uintptr_t)&rseq_no_section;
}

// How often the calling thread has waited so far.
static long rseq_waits(void) {
  struct rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

// Whether a wait shows. One after which the thread is on another CPU proves nothing, and one that was
// over before it began is none.
static int rseq_waits_show(void) {
  int proofs = 0;
  for (int tries = 0; tries < 64 && proofs < 3; tries++) {
    const struct timespec longer = {0, 1L << (tries / 4)};
    const uint32_t cpu = rseq_area()->cpu_id;
    const long waits = rseq_waits();
    rseq_watch();
    nanosleep(&longer, NULL);
    const int never_switched = rseq_never_switched();
    if (rseq_waits() == waits) continue;
    if (never_switched) return 0;
    if (rseq_area()->cpu_id == cpu) proofs++;
  }
  return proofs == 3;
}

// Once, before the other functions: whether they may be used.
static int rseq_prepare(void) {
#ifdef RSEQ_SIGNATURE
  static const uint32_t signature[2] = {RSEQ_SIGNATURE, 0};
  // In glibc since 2.35; a size of 0: this process does without.
  const ptrdiff_t* offset = (const ptrdiff_t*)dlsym(RTLD_DEFAULT, "__rseq_offset");
  const unsigned* bytes = (const unsigned*)dlsym(RTLD_DEFAULT, "__rseq_size");
  if (offset == NULL || bytes == NULL || *bytes < sizeof(RseqArea)) return 0;
  rseq_offset = *offset;
  rseq_no_section.abort = (uintptr_t)&signature[1];
  return rseq_waits_show();
#else
  return 0;
#endif
}

#endif  // LEZEA_MONITOR_RSEQ_H_
