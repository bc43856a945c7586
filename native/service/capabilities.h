// Capabilities of this process's threads (capabilities(7)): Linux has them per thread, and a thread can change its own
// alone. Masks have bit N for capability N. Owns nothing.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace lezea {

// What the calling thread may use.
uint64_t permitted_capabilities();

// Leaves the calling thread those of `mask` that it has, in force, and nothing that it could pass on to a program; from
// then on no program can give it more (no_new_privs). False where the kernel refuses.
bool keep_capabilities(uint64_t mask);

// Takes everything from every thread of the process but `kept`, by a signal that each obeys by itself, and looks in /proc
// that it is so. False with a sentence in `error` where one of them did not within two seconds.
bool drop_capabilities_of_others(pid_t kept, std::string* error);

}  // namespace lezea
