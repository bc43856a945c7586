// The global operator new of the test program: malloc, counted on the thread that asked.
#include "allocations.h"

#include <cstdlib>
#include <new>

namespace lezea::test {

size_t& allocations() {
  thread_local size_t count = 0;
  return count;
}

bool& counting() {
  thread_local bool on = false;
  return on;
}

}  // namespace lezea::test

// Every form that pairs with the deletes below: a sanitizer has its own for the others.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  if (lezea::test::counting()) lezea::test::allocations()++;
  return std::malloc(size != 0 ? size : 1);
}

void* operator new(size_t size) {
  void* memory = operator new(size, std::nothrow);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
