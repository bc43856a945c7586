// Little-endian encoding of opaque state blobs (checkpoints), with every read bounds-checked.
// ByteWriter owns the bytes it wrote; ByteReader borrows the bytes it is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace lezea {

class ByteWriter {
 public:
  void u8(uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void u32(uint32_t value) { fixed(value, 4); }
  void u64(uint64_t value) { fixed(value, 8); }
  void i64(int64_t value) { u64(static_cast<uint64_t>(value)); }
  // Length (u32) and then the bytes.
  void string(std::string_view value) {
    u32(static_cast<uint32_t>(value.size()));
    bytes_.append(value.data(), value.size());
  }

  const std::string& bytes() const { return bytes_; }
  std::string take() { return std::move(bytes_); }
  void clear() { bytes_.clear(); }

 private:
  void fixed(uint64_t value, int width) {
    for (int i = 0; i < width; i++) u8(static_cast<uint8_t>(value >> (8 * i)));
  }
  std::string bytes_;
};

// After the first read past the end every read gives zero and ok() stays false, so a caller may
// decode a whole structure and ask once.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  uint8_t u8() { return static_cast<uint8_t>(fixed(1)); }
  uint32_t u32() { return static_cast<uint32_t>(fixed(4)); }
  uint64_t u64() { return fixed(8); }
  int64_t i64() { return static_cast<int64_t>(u64()); }
  std::string string() {
    size_t size = u32();
    if (!take(size)) return std::string();
    return std::string(bytes_.substr(offset_ - size, size));
  }

  bool ok() const { return ok_; }
  // True when everything was read and nothing is left over.
  bool finished() const { return ok_ && offset_ == bytes_.size(); }
  size_t remaining() const { return bytes_.size() - offset_; }

 private:
  bool take(size_t size) {
    if (!ok_ || size > bytes_.size() - offset_) {
      ok_ = false;
      return false;
    }
    offset_ += size;
    return true;
  }
  uint64_t fixed(size_t width) {
    if (!take(width)) return 0;
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++) {
      value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes_[offset_ - width + i])) << (8 * i);
    }
    return value;
  }

  std::string_view bytes_;
  size_t offset_ = 0;
  bool ok_ = true;
};

}  // namespace lezea
