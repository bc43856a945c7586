// What the fuzz targets share: an input that is taken apart from its front, and a check that ends the
// process, which is how libFuzzer learns of a finding. Borrows the input's bytes.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace lezea::fuzz {

// Ends the process unless the condition holds: what a parser promises of any bytes at all.
#define EXPECT(condition)                                                                        \
  do {                                                                                           \
    if (!(condition)) {                                                                          \
      std::fprintf(stderr, "%s:%d: EXPECT(%s) does not hold\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                              \
    }                                                                                            \
  } while (0)

class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  // The next bytes, as many as there are of those asked for.
  std::string_view bytes(size_t count) {
    const std::string_view front = rest_.substr(0, count);
    rest_.remove_prefix(front.size());
    return front;
  }

  // The next little-endian number; what is missing at the end counts as 0.
  template <class Integer>
  Integer number() {
    static_assert(std::is_integral_v<Integer>);
    Integer value = 0;
    const std::string_view front = bytes(sizeof value);
    std::memcpy(&value, front.data(), front.size());
    return value;
  }
  uint8_t byte() { return number<uint8_t>(); }

 private:
  std::string_view rest_;
};

}  // namespace lezea::fuzz
