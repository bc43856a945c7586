// A test harness in one header: TEST("name") { CHECK(...); CHECK_EQ(a, b); }. A failed check is
// printed and counted, and the test goes on. Owns the list of tests; main.cc runs it.
#pragma once

#include <cstdint>
#include <iostream>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace lezea::test {

struct TestCase {
  std::string file;
  std::string name;
  void (*body)();
};

inline std::vector<TestCase>& all_tests() {
  static std::vector<TestCase> tests;
  return tests;
}

// Failures of the test that is running.
inline int& failures() {
  static int count = 0;
  return count;
}

struct Registration {
  // `title` is the macro's argument as written: an identifier, or a string literal in its quotes.
  Registration(const char* file, std::string title, void (*body)()) {
    if (title.size() >= 2 && title.front() == '"') title = title.substr(1, title.size() - 2);
    all_tests().push_back({file, title, body});
  }
};

inline void fail(const char* file, int line, const std::string& what) {
  failures()++;
  std::cerr << file << ":" << line << ": " << what << "\n";
}

template <class T, class = void>
struct IsPrintable : std::false_type {};
template <class T>
struct IsPrintable<T, std::void_t<decltype(std::declval<std::ostream&>() << std::declval<T>())>>
    : std::true_type {};

template <class T>
std::string text_of(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_enum_v<T>) {
    out << static_cast<int64_t>(value);
  } else if constexpr (std::is_same_v<T, uint8_t> || std::is_same_v<T, int8_t>) {
    out << static_cast<int>(value);
  } else if constexpr (IsPrintable<T>::value) {
    out << value;
  } else {
    out << "(a value that cannot be printed)";
  }
  return out.str();
}

// Numbers are compared by value, whatever their signs and widths.
template <class A, class B>
bool equal(const A& a, const B& b) {
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B>) {
    if constexpr (std::is_signed_v<A> != std::is_signed_v<B>) {
      if constexpr (std::is_signed_v<A>) {
        if (a < 0) return false;
      } else {
        if (b < 0) return false;
      }
    }
    using Common = std::common_type_t<A, B>;
    return static_cast<Common>(a) == static_cast<Common>(b);
  } else {
    return a == b;
  }
}

}  // namespace lezea::test

#define LEZEA_JOIN_(a, b) a##b
#define LEZEA_JOIN(a, b) LEZEA_JOIN_(a, b)

#define LEZEA_TEST_(title, id)                                                  \
  static void LEZEA_JOIN(lezea_test_, id)();                                    \
  static const ::lezea::test::Registration LEZEA_JOIN(lezea_registration_, id)( \
      __FILE__, #title, &LEZEA_JOIN(lezea_test_, id));                          \
  static void LEZEA_JOIN(lezea_test_, id)()

// The title says what the test shows: a sentence in quotes, or an identifier.
#define TEST(title) LEZEA_TEST_(title, __COUNTER__)

#define CHECK(condition)                                                                \
  do {                                                                                  \
    if (!(condition)) ::lezea::test::fail(__FILE__, __LINE__, "CHECK(" #condition ")"); \
  } while (0)

#define CHECK_EQ(actual, expected)                                                             \
  do {                                                                                         \
    const auto lezea_actual = (actual); /* copies: the arguments may point into temporaries */ \
    const auto lezea_expected = (expected);                                                    \
    if (!::lezea::test::equal(lezea_actual, lezea_expected)) {                                 \
      ::lezea::test::fail(                                                                     \
          __FILE__, __LINE__,                                                                  \
          "CHECK_EQ(" #actual ", " #expected "): " + ::lezea::test::text_of(lezea_actual) +    \
              " is not " + ::lezea::test::text_of(lezea_expected));                            \
    }                                                                                          \
  } while (0)

// Ends the test when the condition does not hold, for what later lines depend on.
#define REQUIRE(condition)                                                \
  do {                                                                    \
    if (!(condition)) {                                                   \
      ::lezea::test::fail(__FILE__, __LINE__, "REQUIRE(" #condition ")"); \
      return;                                                             \
    }                                                                     \
  } while (0)

// Ends the test without failing it, saying what the machine lacks.
#define SKIP(reason)                                \
  do {                                              \
    std::cout << "  skipped: " << (reason) << "\n"; \
    return;                                         \
  } while (0)
