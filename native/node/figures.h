// The parsers behind NodeReader: each takes one kernel file's text and appends figures. Emit
// nothing and return false when the text is not what the kernel documents.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "node/node_figures.h"

namespace lezea {

// /proc/stat: cpu_seconds_total{cpu,mode}, context_switches_total, forks_total, boot_time_seconds,
// procs_running, procs_blocked. ticks_per_second is sysconf(_SC_CLK_TCK).
bool parse_proc_stat(std::string_view text, double ticks_per_second, std::vector<NodeFigure>& out);

// /proc/meminfo: memory_MemTotal_bytes, memory_MemAvailable_bytes, …
bool parse_meminfo(std::string_view text, std::vector<NodeFigure>& out);

// /proc/loadavg: load1, load5, load15.
bool parse_loadavg(std::string_view text, std::vector<NodeFigure>& out);

// /proc/pressure/<resource>: pressure_<resource>_waiting_seconds_total (some), and except for cpu,
// where the kernel prints a constant 0, pressure_<resource>_stalled_seconds_total (full).
bool parse_pressure(std::string_view text, const std::string& resource,
                    std::vector<NodeFigure>& out);

// /proc/diskstats, for the devices that `is_disk` accepts.
bool parse_diskstats(std::string_view text, const std::function<bool(const std::string&)>& is_disk,
                     std::vector<NodeFigure>& out);

// /proc/net/dev: network_{receive,transmit}_{bytes,packets,errs,drop}_total{device}.
bool parse_net_dev(std::string_view text, std::vector<NodeFigure>& out);

}  // namespace lezea
