// Sample: " 254       0 vda 10172 1370 906850 4107 4422 3342 251480 3518 0 3596 7781 …"
// (major, minor, name, reads, merged, sectors read, ms reading, writes, merged, sectors written, ms
// writing, in flight, ms with IO in flight, …; a sector here is 512 bytes on every device)
#include "base/text.h"
#include "node/figures.h"

namespace lezea {

bool parse_diskstats(std::string_view text, const std::function<bool(const std::string&)>& is_disk,
                     std::vector<NodeFigure>& out) {
  constexpr double kSectorBytes = 512;
  std::vector<NodeFigure> figures;
  TextScanner lines(text);
  std::string_view line;
  while (lines.line(line)) {
    TextScanner fields(line);
    std::string_view name;
    uint64_t reads = 0, read_sectors = 0, writes = 0, written_sectors = 0, io_ms = 0;
    bool whole = fields.skip_words(2) && fields.word(name) && fields.number(reads) &&
                 fields.skip_words(1) && fields.number(read_sectors) && fields.skip_words(1) &&
                 fields.number(writes) && fields.skip_words(1) && fields.number(written_sectors) &&
                 fields.skip_words(2) && fields.number(io_ms);
    if (!whole) return false;
    const std::string device(name);
    if (!is_disk(device)) continue;
    const auto add = [&figures, &device](const char* figure, double value) {
      figures.push_back({figure, {{"device", device}}, value, true});
    };
    add("disk_read_bytes_total", static_cast<double>(read_sectors) * kSectorBytes);
    add("disk_written_bytes_total", static_cast<double>(written_sectors) * kSectorBytes);
    add("disk_reads_completed_total", static_cast<double>(reads));
    add("disk_writes_completed_total", static_cast<double>(writes));
    add("disk_io_time_seconds_total", static_cast<double>(io_ms) / 1e3);
  }
  out.insert(out.end(), figures.begin(), figures.end());
  return true;
}

}  // namespace lezea
