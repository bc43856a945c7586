// The small foundations: state blobs, text scanning, descriptors, clocks.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/read_file.h"
#include "base/result.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "check.h"

using namespace lezea;

TEST("a state blob gives back what was written, and nothing beyond its end") {
  ByteWriter writer;
  writer.u8(7);
  writer.u32(0x01020304);
  writer.u64(UINT64_MAX);
  writer.i64(-5);
  const std::string with_nul("a\0b", 3);
  writer.string(with_nul);
  writer.string("");
  CHECK_EQ(static_cast<unsigned char>(writer.bytes()[1]), 4);  // little-endian

  ByteReader reader(writer.bytes());
  CHECK_EQ(reader.u8(), 7);
  CHECK_EQ(reader.u32(), 0x01020304u);
  CHECK_EQ(reader.u64(), UINT64_MAX);
  CHECK_EQ(reader.i64(), -5);
  CHECK_EQ(reader.string(), with_nul);
  CHECK_EQ(reader.string(), "");
  CHECK(reader.finished());
  CHECK_EQ(reader.u8(), 0);
  CHECK(!reader.ok());
}

TEST("every truncation of a state blob is noticed") {
  ByteWriter writer;
  writer.u32(1);
  writer.string("scope");
  writer.u64(2);
  for (size_t size = 0; size < writer.bytes().size(); size++) {
    ByteReader reader(std::string_view(writer.bytes()).substr(0, size));
    reader.u32();
    reader.string();
    reader.u64();
    CHECK(!reader.ok());
  }
  ByteWriter lying;
  lying.u32(UINT32_MAX);
  ByteReader reader(lying.bytes());
  CHECK_EQ(reader.string(), "");
  CHECK(!reader.ok());
}

TEST("numbers must be whole and fit") {
  uint64_t value = 0;
  CHECK(TextScanner(" 18446744073709551615 ").number(value));
  CHECK_EQ(value, UINT64_MAX);
  for (const char* bad : {"", " ", "18446744073709551616", "12x", "-1", "0x10", "+3"}) {
    CHECK(!TextScanner(bad).number(value));
  }
  int number = 0;
  CHECK(TextScanner("-2").number(number));
  CHECK_EQ(number, -2);
  CHECK(!find_number("Rssx: 3\n", "Rss:", value));
  CHECK(find_number("a: 1\nRss:   12 kB\n", "Rss:", value));
  CHECK_EQ(value, 12);
}

TEST("a descriptor is closed once, by its last owner") {
  UniqueFd first(open("/dev/null", O_RDONLY | O_CLOEXEC));
  REQUIRE(first.valid());
  int number = first.get();
  UniqueFd second(std::move(first));
  CHECK(!first.valid());  // NOLINT: a moved-from descriptor is empty by contract
  CHECK_EQ(second.get(), number);
  second.reset();
  second.reset();
  CHECK_EQ(fcntl(number, F_GETFD), -1);
}

TEST("errno becomes a status") {
  CHECK_EQ(status_of_errno(ESRCH), ReadStatus::kGone);
  CHECK_EQ(status_of_errno(ENOENT), ReadStatus::kGone);
  CHECK_EQ(status_of_errno(EPERM), ReadStatus::kDenied);
  CHECK_EQ(status_of_errno(EACCES), ReadStatus::kDenied);
  CHECK_EQ(status_of_errno(EMFILE), ReadStatus::kUnsupported);
  CHECK_EQ(std::string(name(ReadStatus::kMalformed)), "malformed");
}

TEST("a file that does not fit the buffer is refused, not cut") {
  char buffer[8];
  Result<UniqueFd> file = open_at(AT_FDCWD, "/proc/self/stat");
  REQUIRE(file.ok());
  CHECK_EQ(pread_file(file.value.get(), buffer, sizeof buffer).status, ReadStatus::kMalformed);
  CHECK(pread_file(file.value.get()).value.size() > sizeof buffer);
}

TEST("the system clock runs, sleeps and reads another process's CPU time") {
  SystemClock clock;
  uint64_t before = clock.monotonic_ns();
  clock.sleep_ns(2000000);
  CHECK(clock.monotonic_ns() - before >= 2000000);
  CHECK(clock.wall_ms() > 1600000000000);
  CHECK(clock.process_cpu_ns(getpid()).value > 0);
  CHECK_EQ(clock.process_cpu_ns(0).status, ReadStatus::kGone);
  CHECK_EQ(clock.process_cpu_ns(999999999).status, ReadStatus::kGone);
}
