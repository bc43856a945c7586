// Where the captured roots of test/fixtures are, and the contents of their files.
#pragma once

#include <cstdlib>
#include <string>

namespace lezea::test {

// scripts/native-test.mjs names the source tree; without it the tests must run from there.
inline std::string fixture_path(const std::string& path) {
  const char* root = std::getenv("LEZEA_SOURCE_ROOT");
  return std::string(root != nullptr ? root : ".") + "/test/fixtures/" + path;
}

}  // namespace lezea::test
