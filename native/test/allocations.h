// Counts operator new while asked to, so that tests can show a path does not allocate.
// allocations.cc replaces the global operators.
#pragma once

#include <cstddef>

namespace lezea::test {

size_t& allocations();
bool& counting();

}  // namespace lezea::test
