// The netlink parsers on built and hostile messages.
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/genetlink.h>
#include <linux/taskstats.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "check.h"
#include "netlink/netlink_socket.h"
#include "netlink/proc_connector.h"
#include "netlink/taskstats.h"

using namespace lezea;

namespace {

template <class T>
std::string bytes_of(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string stats_bytes(int pid, uint16_t version = TASKSTATS_VERSION) {
  taskstats stats{};
  stats.version = version;
  stats.ac_pid = static_cast<uint32_t>(pid);
  stats.cpu_run_virtual_total = 2044974;
  stats.cpu_delay_total = 77;
  stats.read_bytes = 5;
  stats.nivcsw = 3;
  stats.ac_minflt = 9;
  std::string comm = "a-name-without-a-terminator-here-32";
  comm.copy(stats.ac_comm, sizeof stats.ac_comm);
  return bytes_of(stats);
}

std::string aggregate(uint16_t aggregate_type, uint32_t id, const std::string& stats) {
  bool group = aggregate_type == TASKSTATS_TYPE_AGGR_TGID;
  std::string inner;
  append_attribute(inner, group ? TASKSTATS_TYPE_TGID : TASKSTATS_TYPE_PID, bytes_of(id));
  append_attribute(inner, TASKSTATS_TYPE_STATS, stats);
  std::string out;
  append_attribute(out, aggregate_type, inner);
  return out;
}

std::vector<TaskUsage> records_of(const std::string& attributes) {
  std::vector<TaskUsage> out;
  parse_task_records(std::string(GENL_HDRLEN, '\0') + attributes, out);
  return out;
}

std::string event_datagram(uint32_t what, const std::vector<uint32_t>& words) {
  cn_msg connector{};
  connector.id = {CN_IDX_PROC, CN_VAL_PROC};
  std::string body = bytes_of(what) + bytes_of(uint32_t{0}) + bytes_of(uint64_t{123456789});
  for (uint32_t word : words) body += bytes_of(word);
  connector.len = static_cast<uint16_t>(body.size());
  nlmsghdr header{};
  header.nlmsg_len = static_cast<uint32_t>(NLMSG_HDRLEN + sizeof connector + body.size());
  return bytes_of(header) + bytes_of(connector) + body;
}

}  // namespace

TEST("a taskstats structure is read as far as it reaches") {
  const std::string whole = stats_bytes(42);
  Result<TaskUsage> usage = parse_taskstats(whole, false);
  REQUIRE(usage.ok());
  CHECK_EQ(usage.value.tid, 42);
  CHECK_EQ(usage.value.cpu_ns, 2044974);
  CHECK_EQ(usage.value.runqueue_wait_ns, 77);
  CHECK_EQ(usage.value.io.read_bytes, 5);
  CHECK_EQ(usage.value.minor_faults, 9);
  CHECK_EQ(usage.value.involuntary_switches, 3);
  CHECK_EQ(usage.value.comm, "a-name-without-a-terminator-here");
  CHECK(parse_taskstats(whole + std::string(512, 'x'), false).ok());

  Result<TaskUsage> old_kernel =
      parse_taskstats(whole.substr(0, offsetof(taskstats, nivcsw) + 8), false);
  CHECK(old_kernel.ok());
  CHECK_EQ(old_kernel.value.tgid, 0);
  for (size_t size = 0; size < offsetof(taskstats, nivcsw) + 8; size++) {
    CHECK_EQ(parse_taskstats(whole.substr(0, size), false).status, ReadStatus::kMalformed);
  }
}

TEST("a group's record has CPU and switches but no IO, faults or name") {
  std::vector<TaskUsage> records =
      records_of(aggregate(TASKSTATS_TYPE_AGGR_PID, 43, stats_bytes(43)) +
                 aggregate(TASKSTATS_TYPE_AGGR_TGID, 42, stats_bytes(0)));
  REQUIRE(records.size() == 2);
  CHECK(!records[0].group && records[0].has_io && records[0].has_faults);
  CHECK(records[1].group && !records[1].has_io && !records[1].has_faults);
  CHECK_EQ(records[1].tid, 42);
  CHECK_EQ(records[1].tgid, 42);
  CHECK_EQ(records[1].cpu_ns, 2044974);
  CHECK(records[1].comm.empty());
}

TEST("records laid out in an unknown way are refused") {
  CHECK(records_of(aggregate(TASKSTATS_TYPE_AGGR_PID, 43, stats_bytes(7))).empty());
  CHECK(records_of(aggregate(TASKSTATS_TYPE_AGGR_PID, 43, stats_bytes(43, 15))).empty());
  CHECK(records_of(aggregate(TASKSTATS_TYPE_AGGR_TGID, 43, stats_bytes(0, 15))).empty());
}

TEST("lying lengths end the walk") {
  const std::string good = aggregate(TASKSTATS_TYPE_AGGR_PID, 43, stats_bytes(43));
  for (size_t size = 0; size < good.size(); size++) {
    CHECK(records_of(std::string(good.data(), size)).empty());
  }
  std::string lying = good;
  lying[0] = static_cast<char>(0xff);
  lying[1] = static_cast<char>(0xff);
  CHECK(records_of(lying).empty());
  std::string zero_length(16, '\0');
  CHECK(records_of(zero_length).empty());
}

TEST("an answer's errno is one, or the answer is malformed") {
  int error = -1;
  CHECK(error_of(bytes_of(int32_t{0}), error));
  CHECK_EQ(error, 0);
  CHECK(error_of(bytes_of(int32_t{-ESRCH}), error));
  CHECK_EQ(error, ESRCH);
  for (const int32_t none : {1, -4096, INT32_MIN}) CHECK(!error_of(bytes_of(none), error));
  CHECK(!error_of("abc", error));
  std::vector<TaskUsage> records;
  CHECK_EQ(parse_task_reply(NLMSG_ERROR, 31, bytes_of(INT32_MIN), records).status,
           ReadStatus::kMalformed);
}

TEST("process events are decoded, others counted") {
  std::vector<ProcEvent> events;
  std::string datagram = event_datagram(1, {10, 11, 12, 13});
  CHECK_EQ(parse_proc_events(datagram, events), 0u);
  CHECK_EQ(parse_proc_events(event_datagram(2, {20, 21}), events), 0u);
  CHECK_EQ(parse_proc_events(event_datagram(0x80000000u, {30, 31, 9, 17, 33, 34}), events), 0u);
  CHECK_EQ(parse_proc_events(event_datagram(4, {1, 2, 3, 4}), events), 1u);
  CHECK_EQ(parse_proc_events(event_datagram(0, {0}), events), 0u);
  REQUIRE(events.size() == 3);
  CHECK_EQ(events[0].parent_tid, 10);
  CHECK_EQ(events[0].parent_tgid, 11);
  CHECK_EQ(events[0].tid, 12);
  CHECK_EQ(events[0].tgid, 13);
  CHECK(events[0].new_thread());
  CHECK_EQ(events[0].t_mono_ns, 123456789);
  CHECK_EQ(events[1].kind, ProcEvent::Kind::kExec);
  CHECK_EQ(events[2].exit_code, 9);
  CHECK_EQ(events[2].parent_tgid, 34);

  events.clear();
  for (size_t size = 0; size < datagram.size(); size++) {
    parse_proc_events(std::string(datagram.data(), size), events);
  }
  CHECK(events.empty());
  CHECK_EQ(parse_proc_events(event_datagram(1, {10, 11, 12}), events), 1u);
}
