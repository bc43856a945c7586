// Live self-tests of the kernel's event sources: each forks a child and demands to hear of it
// within 100 ms, for a source may accept a registration and then never send anything (a private
// network namespace does that). To be run on a fresh source before it is used: what arrives during
// the probe is dropped.
#pragma once

#include <string>
#include <vector>

#include "netlink/proc_connector.h"
#include "netlink/taskstats.h"

namespace lezea {

// Each returns an empty string when the source works, else why it does not, in one line. `heard` gets
// all that was drained, in order.
std::string probe_exit_records(ExitListener& listener, std::vector<TaskUsage>& heard);
std::string probe_proc_events(ProcEvents& events, std::vector<ProcEvent>& heard);
// Asks for the calling thread and its group.
std::string probe_taskstats_reader(TaskstatsReader& reader);
// A child that exits with a known code is reaped, then its pidfd must still tell the code.
std::string probe_pidfd_exit_info();

}  // namespace lezea
