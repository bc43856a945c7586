// Reading numbers and words out of kernel text, with every failure reported. Borrows the text.
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

namespace lezea {

class TextScanner {
 public:
  explicit TextScanner(std::string_view text) : rest_(text) {}

  // The next blank-separated word of the text; false at its end. Newlines are blanks.
  bool word(std::string_view& out) {
    size_t begin = rest_.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return false;
    rest_.remove_prefix(begin);
    size_t size = rest_.find_first_of(kBlanks);
    out = rest_.substr(0, size);
    rest_.remove_prefix(out.size());
    return true;
  }

  bool skip_words(int count) {
    std::string_view ignored;
    for (int i = 0; i < count; i++) {
      if (!word(ignored)) return false;
    }
    return true;
  }

  // The next word must be a whole decimal (or other base) number that fits.
  template <class Integer>
  bool number(Integer& out, int base = 10) {
    std::string_view text;
    if (!word(text)) return false;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
    return error == std::errc() && end == text.data() + text.size();
  }

  // The next line without its newline; false at the end of the text.
  bool line(std::string_view& out) {
    if (rest_.empty()) return false;
    size_t size = rest_.find('\n');
    out = rest_.substr(0, size);
    rest_.remove_prefix(size == std::string_view::npos ? rest_.size() : size + 1);
    return true;
  }

 private:
  static constexpr std::string_view kBlanks = " \t\n";
  std::string_view rest_;
};

// What follows `key` on the line that begins with it; false when there is no such line.
inline bool find_line(std::string_view text, std::string_view key, std::string_view& out) {
  TextScanner lines(text);
  std::string_view line;
  while (lines.line(line)) {
    if (line.substr(0, key.size()) != key) continue;
    out = line.substr(key.size());
    return true;
  }
  return false;
}

// The first number behind `key` on its line ("Rss:   12 kB" gives 12).
template <class Integer>
bool find_number(std::string_view text, std::string_view key, Integer& out, int base = 10) {
  std::string_view rest;
  return find_line(text, key, rest) && TextScanner(rest).number(out, base);
}

}  // namespace lezea
