// Taskstats requests and exit records; messages are taken apart by their attributes' lengths.
#include "netlink/taskstats.h"

#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/taskstats.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/read_file.h"
#include "base/text.h"
#include "netlink/netlink_socket.h"

namespace lezea {
namespace {

// 16 MB held 100 000 exits in a burst; 208 KB lost 19 668 of 20 000.
constexpr int kReceiveBufferBytes = 16 << 20;
constexpr int kReplyTimeoutMs = 1000;
constexpr size_t kRequestsPerSend = 64;
constexpr uint32_t kRegisterSequence = 1;

std::string_view bytes_of(const uint32_t& value) {
  return std::string_view(reinterpret_cast<const char*>(&value), sizeof value);
}

// "0-63": registration is refused if it names a CPU that is not possible.
std::string possible_cpus() {
  Result<std::string> text = read_file_at(AT_FDCWD, "/sys/devices/system/cpu/possible");
  std::string_view line;
  if (text.ok() && TextScanner(text.value).word(line)) return std::string(line);
  long count = std::max(1L, sysconf(_SC_NPROCESSORS_CONF));
  return count == 1 ? "0" : "0-" + std::to_string(count - 1);
}

ReadStatus set_listening(int fd, uint16_t family, uint16_t attribute) {
  std::string mask = possible_cpus();
  std::string attributes;
  append_attribute(attributes, attribute, std::string_view(mask.c_str(), mask.size() + 1));
  std::string request;
  append_generic_request(
      request, {family, NLM_F_ACK, kRegisterSequence, TASKSTATS_CMD_GET, TASKSTATS_GENL_VERSION},
      attributes);
  Result<bool> sent = send_to_kernel(fd, request);
  return sent.ok() ? wait_for_ack(fd, kRegisterSequence) : sent.status;
}

// AGGR_PID or AGGR_TGID: an id and a struct taskstats, each an attribute.
bool parse_aggregate(std::string_view attributes, bool group, TaskUsage& out) {
  uint16_t type = 0;
  uint32_t id = 0;
  bool found = false;
  std::string_view value;
  while (next_attribute(attributes, type, value)) {
    if (type == TASKSTATS_TYPE_PID || type == TASKSTATS_TYPE_TGID) {
      if (!read_struct(value, id)) return false;
    } else if (type == TASKSTATS_TYPE_STATS) {
      Result<TaskUsage> usage = parse_taskstats(value, group);
      if (!usage.ok()) return false;
      out = std::move(usage.value);
      found = true;
    }
  }
  if (!found) return false;
  // A group's structure holds no id; a thread's holds the same one, unless this kernel lays the
  // structure out in a way that is not known here.
  if (!group) return out.tid == static_cast<int>(id);
  out.tid = static_cast<int>(id);
  out.tgid = out.tid;
  return true;
}

}  // namespace

void parse_task_records(std::string_view payload, std::vector<TaskUsage>& out) {
  if (payload.size() < GENL_HDRLEN) return;
  payload.remove_prefix(GENL_HDRLEN);
  uint16_t type = 0;
  std::string_view value;
  while (next_attribute(payload, type, value)) {
    if (type != TASKSTATS_TYPE_AGGR_PID && type != TASKSTATS_TYPE_AGGR_TGID) continue;
    TaskUsage usage;
    if (parse_aggregate(value, type == TASKSTATS_TYPE_AGGR_TGID, usage)) {
      out.push_back(std::move(usage));
    }
  }
}

Result<std::unique_ptr<TaskstatsListener>> TaskstatsListener::open() {
  using Opened = Result<std::unique_ptr<TaskstatsListener>>;
  Result<UniqueFd> socket = open_netlink(NETLINK_GENERIC, 0, kReplyTimeoutMs);
  if (!socket.ok()) return Opened::fail(socket.status);
  Result<uint16_t> family = resolve_generic_family(socket.value.get(), TASKSTATS_GENL_NAME);
  if (!family.ok()) return Opened::fail(family.status);
  enlarge_receive_buffer(socket.value.get(), kReceiveBufferBytes);
  ReadStatus registered =
      set_listening(socket.value.get(), family.value, TASKSTATS_CMD_ATTR_REGISTER_CPUMASK);
  if (registered != ReadStatus::kOk) return Opened::fail(registered);

  std::unique_ptr<TaskstatsListener> listener(new TaskstatsListener());
  listener->socket_ = std::move(socket.value);
  listener->family_ = family.value;
  return Opened::of(std::move(listener));
}

Result<std::unique_ptr<TaskstatsListener>> TaskstatsListener::adopt(UniqueFd socket) {
  using Opened = Result<std::unique_ptr<TaskstatsListener>>;
  if (!is_netlink(socket.get(), NETLINK_GENERIC)) return Opened::fail(ReadStatus::kUnsupported);
  // The family's number is asked for elsewhere: the answer would come behind all the records.
  Result<UniqueFd> asking = open_netlink(NETLINK_GENERIC, 0, kReplyTimeoutMs);
  if (!asking.ok()) return Opened::fail(asking.status);
  Result<uint16_t> family = resolve_generic_family(asking.value.get(), TASKSTATS_GENL_NAME);
  if (!family.ok()) return Opened::fail(family.status);
  std::unique_ptr<TaskstatsListener> listener(new TaskstatsListener());
  listener->socket_ = std::move(socket);
  listener->family_ = family.value;
  return Opened::of(std::move(listener));
}

TaskstatsListener::~TaskstatsListener() {
  if (outlives_) return;
  // Closing alone works too, but the kernel would notice only at the next exit on each CPU. The
  // answer drowns among the records and is of no use.
  std::string mask = possible_cpus();
  std::string attributes;
  append_attribute(attributes, TASKSTATS_CMD_ATTR_DEREGISTER_CPUMASK,
                   std::string_view(mask.c_str(), mask.size() + 1));
  std::string request;
  append_generic_request(request, {family_, 0, 0, TASKSTATS_CMD_GET, TASKSTATS_GENL_VERSION},
                         attributes);
  (void)send_to_kernel(socket_.get(), request);
}

void TaskstatsListener::drain(std::vector<TaskUsage>& out) {
  out.insert(out.end(), unread_.begin(), unread_.end());
  unread_.clear();
  for (int round = 0; round < kMaxRounds; round++) {
    receive(socket_.get(), false, buffer_, datagrams_);
    if (datagrams_.overrun) {
      lost_++;
      continue;
    }
    for (std::string_view datagram : datagrams_.messages) {
      nlmsghdr header{};
      std::string_view payload;
      while (next_message(datagram, header, payload)) {
        if (header.nlmsg_type == family_) parse_task_records(payload, out);
      }
    }
    if (datagrams_.received < kBatch) return;
  }
}

Result<TaskstatsReader> TaskstatsReader::open() {
  using Opened = Result<TaskstatsReader>;
  Result<UniqueFd> socket = open_netlink(NETLINK_GENERIC, 0, kReplyTimeoutMs);
  if (!socket.ok()) return Opened::fail(socket.status);
  Result<uint16_t> family = resolve_generic_family(socket.value.get(), TASKSTATS_GENL_NAME);
  if (!family.ok()) return Opened::fail(family.status);
  TaskstatsReader reader;
  reader.socket_ = std::move(socket.value);
  reader.family_ = family.value;
  std::vector<Result<TaskUsage>> own;
  reader.threads({static_cast<int>(syscall(SYS_gettid))}, own);
  if (!own[0].ok()) return Opened::fail(own[0].status);
  return Opened::of(std::move(reader));
}

Result<TaskUsage> TaskstatsReader::group(int tgid) {
  auto answer = Result<TaskUsage>::fail(ReadStatus::kUnsupported);
  ask({TASKSTATS_CMD_ATTR_TGID, &tgid, 1}, &answer);
  return answer;
}

void TaskstatsReader::threads(const std::vector<int>& tids, std::vector<Result<TaskUsage>>& out) {
  out.assign(tids.size(), Result<TaskUsage>::fail(ReadStatus::kUnsupported));
  for (size_t at = 0; at < tids.size(); at += kRequestsPerSend) {
    size_t count = std::min(kRequestsPerSend, tids.size() - at);
    ask({TASKSTATS_CMD_ATTR_PID, tids.data() + at, count}, &out[at]);
  }
}

void TaskstatsReader::ask(const Question& question, Result<TaskUsage>* answers) {
  requests_.clear();
  uint32_t first = sequence_ + 1;
  for (size_t i = 0; i < question.count; i++) {
    attributes_.clear();
    append_attribute(attributes_, question.attribute,
                     bytes_of(static_cast<uint32_t>(question.ids[i])));
    append_generic_request(requests_,
                           {family_, 0, ++sequence_, TASKSTATS_CMD_GET, TASKSTATS_GENL_VERSION},
                           attributes_);
  }
  if (Result<bool> sent = send_to_kernel(socket_.get(), requests_); !sent.ok()) {
    for (size_t i = 0; i < question.count; i++) answers[i].status = sent.status;
    return;
  }
  // The kernel answers inside the send, so everything is there; the timeout is for the case that
  // it dropped an answer. Answers to an earlier question that was given up on are passed over.
  size_t answered = 0;
  while (answered < question.count) {
    receive(socket_.get(), true, buffer_, datagrams_);
    if (datagrams_.overrun) continue;
    if (datagrams_.received == 0) return;
    for (std::string_view datagram : datagrams_.messages) {
      nlmsghdr header{};
      std::string_view payload;
      while (next_message(datagram, header, payload)) {
        uint32_t index = header.nlmsg_seq - first;
        if (index >= question.count) continue;
        answers[index] = parse_task_reply(header.nlmsg_type, family_, payload, records_);
        answered++;
      }
    }
  }
}

Result<TaskUsage> parse_task_reply(uint16_t type, uint16_t family, std::string_view payload,
                                   std::vector<TaskUsage>& records) {
  using Reply = Result<TaskUsage>;
  if (type == NLMSG_ERROR) {
    int error = 0;
    if (!error_of(payload, error)) return Reply::fail(ReadStatus::kMalformed);
    return Reply::fail_errno(error);
  }
  records.clear();
  parse_task_records(payload, records);
  if (type != family || records.empty()) return Reply::fail(ReadStatus::kMalformed);
  return Reply::of(std::move(records[0]));
}

}  // namespace lezea
