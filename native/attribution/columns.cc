// Totals to and from frame rows; see columns.h for the layout.

#include "attribution/columns.h"

namespace lezea {
namespace {

constexpr int kWordOfCpu = 3;
constexpr int kWordAfterMemory = 9;

int word_of(int column) {
  return column < kMemoryTime ? kWordOfCpu + column : kWordAfterMemory + column - kIoRead;
}

}  // namespace

FrameRow to_frame(uint32_t id, const Totals& totals, MemoryNow now) {
  FrameRow row{};
  row[0] = id;
  row[1] = totals.known | (now.known ? kMemoryNowKnown : 0);
  row[2] = now.bytes;
  for (int column = 0; column < kColumnCount; ++column) {
    if (column == kMemoryTime) continue;
    row[word_of(column)] = static_cast<uint64_t>(totals.value[column]);
  }
  row[7] = static_cast<uint64_t>(totals.value[kMemoryTime]);
  row[8] = static_cast<uint64_t>(totals.value[kMemoryTime] >> 64);
  return row;
}

Totals from_frame(const FrameRow& row) {
  Totals totals;
  totals.known = static_cast<uint32_t>(row[1]);
  for (int column = 0; column < kColumnCount; ++column) {
    if (column == kMemoryTime) continue;
    totals.value[column] = row[word_of(column)];
  }
  totals.value[kMemoryTime] = (Amount{row[8]} << 64) | row[7];
  return totals;
}

}  // namespace lezea
