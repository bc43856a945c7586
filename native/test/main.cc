// Runs the tests whose "file name: title" contains every argument; prints one line for each and
// `N passed, N failed`. Exit status 1 on failure or when no test was chosen.
#include <exception>
#include <iostream>
#include <string>

#include "check.h"

namespace {

std::string full_name(const lezea::test::TestCase& test) {
  size_t slash = test.file.rfind('/');
  return (slash == std::string::npos ? test.file : test.file.substr(slash + 1)) + ": " + test.name;
}

bool chosen(const std::string& name, int argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    if (name.find(argv[i]) == std::string::npos) return false;
  }
  return true;
}

bool passes(const lezea::test::TestCase& test) {
  lezea::test::failures() = 0;
  try {
    test.body();
  } catch (const std::exception& error) {
    lezea::test::fail(test.file.c_str(), 0, std::string("exception: ") + error.what());
  }
  return lezea::test::failures() == 0;
}

}  // namespace

int main(int argc, char** argv) {
  int passed = 0;
  int failed = 0;
  for (const lezea::test::TestCase& test : lezea::test::all_tests()) {
    std::string name = full_name(test);
    if (!chosen(name, argc, argv)) continue;
    // Flushed, so that a crash leaves the guilty test's name.
    std::cout << name << std::endl;
    bool ok = passes(test);
    if (!ok) std::cout << "  FAILED" << std::endl;
    (ok ? passed : failed)++;
  }
  std::cout << passed << " passed, " << failed << " failed" << std::endl;
  return failed > 0 || passed == 0 ? 1 : 0;
}
