// Netlink datagrams: the first byte chooses what is looked for, the rest is what the socket gave. Messages
// and attributes whose lengths lie end the walk; what is found lies within the bytes.
#include <string>
#include <vector>

#include "fuzz.h"
#include "netlink/netlink_socket.h"
#include "netlink/proc_connector.h"
#include "netlink/taskstats.h"

namespace lezea::fuzz {
namespace {

constexpr size_t kLeastEventBytes = 16 + 20 + 16;  // nlmsghdr, cn_msg, the head of proc_event
constexpr size_t kLeastStatsBytes = 8 + 100;       // two attributes and far less than a structure
constexpr size_t kMostCommBytes = 32;

void check_events(Input& input) {
  const auto token = input.number<uint32_t>();
  const std::string_view datagram = input.rest();
  std::vector<ProcEvent> events;
  const size_t unwanted = parse_proc_events(datagram, events);
  EXPECT((events.size() + unwanted) * kLeastEventBytes <= datagram.size());
  for (const ProcEvent& event : events) {
    EXPECT(event.kind != ProcEvent::Kind::kExec || event.parent_tid == 0);
  }
  const std::optional<int> ack = find_listen_ack(datagram, token);
  EXPECT(!ack || datagram.size() >= kLeastEventBytes);
}

void check_usage(const TaskUsage& usage) {
  EXPECT(usage.comm.size() <= kMostCommBytes && usage.comm.find('\0') == std::string::npos);
  EXPECT(usage.has_io != usage.group && usage.has_faults != usage.group);
}

void check_records(Input& input) {
  const std::string_view payload = input.rest();
  std::vector<TaskUsage> records;
  parse_task_records(payload, records);
  EXPECT(records.size() * kLeastStatsBytes <= payload.size());
  for (const TaskUsage& usage : records) {
    check_usage(usage);
    EXPECT(!usage.group || usage.tid == usage.tgid);
  }
}

void check_stats(Input& input) {
  const bool group = input.byte() % 2 == 1;
  const Result<TaskUsage> usage = parse_taskstats(input.rest(), group);
  if (usage.ok()) check_usage(usage.value);
}

void check_reply(Input& input) {
  const auto type = input.number<uint16_t>();
  const auto family = input.number<uint16_t>();
  std::vector<TaskUsage> records;
  const Result<TaskUsage> reply = parse_task_reply(type, family, input.rest(), records);
  EXPECT(!reply.ok() || type == family);
}

void check_answers(Input& input) {
  const auto sequence = input.number<uint32_t>();
  const std::string_view datagram = input.rest();
  const std::optional<uint16_t> id = find_family_id(datagram);
  EXPECT(!id || datagram.find(std::string_view(reinterpret_cast<const char*>(&*id), sizeof *id)) !=
                    std::string_view::npos);
  const std::optional<ReadStatus> ack = find_ack(datagram, sequence);
  EXPECT(!ack || datagram.size() >= sizeof(nlmsghdr));
}

// What is appended is what is walked.
void check_own(Input& input) {
  std::string written;
  std::vector<std::pair<uint16_t, std::string>> given;
  while (!input.empty()) {
    const uint16_t type = input.number<uint16_t>() & NLA_TYPE_MASK;
    given.emplace_back(type, input.bytes(input.byte()));
    append_attribute(written, type, given.back().second);
  }
  std::string_view rest = written;
  for (const auto& [type, value] : given) {
    uint16_t found = 0;
    std::string_view got;
    EXPECT(next_attribute(rest, found, got));
    EXPECT(found == type && got == value);
  }
  EXPECT(rest.empty());
}

constexpr void (*kChecks[])(Input&) = {check_events, check_records, check_stats,
                                       check_reply,  check_answers, check_own};

}  // namespace
}  // namespace lezea::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lezea::fuzz;
  Input input(data, size);
  constexpr size_t kCount = sizeof kChecks / sizeof kChecks[0];
  kChecks[input.byte() % kCount](input);
  return 0;
}
