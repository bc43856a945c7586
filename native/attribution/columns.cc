// Totals to and from frame rows; see columns.h for the layout.

#include "attribution/columns.h"

namespace lezea {

FrameRow to_frame(RowId id, const Totals& totals, MemoryNow now) {
  FrameRow row{};
  row[0] = uint64_t{id.gpu} << 32 | id.id;
  row[1] = totals.known | (now.known ? kMemoryNowKnown : 0);
  row[2] = now.bytes;
  for (int column = 0; column < kColumnCount; ++column) {
    const ColumnSpec& spec = kColumns[column];
    const Amount value = totals.value[column];
    row[spec.word] = static_cast<uint64_t>(value);
    if (spec.words == 2) row[spec.word + 1] = static_cast<uint64_t>(value >> 64);
  }
  return row;
}

RowId row_id(const FrameRow& row) {
  return {static_cast<uint32_t>(row[0]), static_cast<uint32_t>(row[0] >> 32)};
}

Totals from_frame(const FrameRow& row) {
  Totals totals;
  totals.known = static_cast<uint32_t>(row[1]);
  for (int column = 0; column < kColumnCount; ++column) {
    const ColumnSpec& spec = kColumns[column];
    const Amount high = spec.words == 2 ? row[spec.word + 1] : 0;
    totals.value[column] = (high << 64) | row[spec.word];
  }
  return totals;
}

}  // namespace lezea
