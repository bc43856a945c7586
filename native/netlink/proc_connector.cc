// CN_PROC over the connector socket. A message is nlmsghdr, cn_msg, proc_event.
#include "netlink/proc_connector.h"

#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>

#include "base/clock.h"

namespace lezea {
namespace {

constexpr int kReceiveBufferBytes = 16 << 20;
// Long enough for an answer that the kernel gives inside the send, short enough to fall back.
constexpr int kAckTimeoutMs = 50;

// proc_event.what, by value: as an enumeration it has moved between headers.
constexpr uint32_t kNoEvent = 0;  // an acknowledgement
constexpr uint32_t kForkEvent = 0x00000001;
constexpr uint32_t kExecEvent = 0x00000002;
constexpr uint32_t kExitEvent = 0x80000000;

// Since Linux 6.6 the listen operation may name the wanted events (struct proc_input); before, the
// kernel ignores a message of this length without a word.
struct FilteredListen {
  uint32_t operation;
  uint32_t events;
};

// proc_event as the kernel sends it: a fixed head, then the ids of the event.
struct EventHead {
  uint32_t what;
  uint32_t cpu;
  uint64_t timestamp_ns;
};
static_assert(sizeof(EventHead) == offsetof(proc_event, event_data), "kernel structure");

// `token` comes back, plus one, as cn_msg.ack of the acknowledgement (its seq is a per-CPU count).
template <class Operation>
Result<bool> send_operation(int fd, const Operation& operation, uint32_t token) {
  std::string message(NLMSG_LENGTH(sizeof(cn_msg) + sizeof operation), '\0');
  nlmsghdr header{};
  header.nlmsg_len = static_cast<uint32_t>(message.size());
  header.nlmsg_type = NLMSG_DONE;
  cn_msg connector{};
  connector.id = {CN_IDX_PROC, CN_VAL_PROC};
  connector.ack = token;
  connector.len = sizeof operation;
  std::memcpy(&message[0], &header, sizeof header);
  std::memcpy(&message[NLMSG_HDRLEN], &connector, sizeof connector);
  std::memcpy(&message[NLMSG_HDRLEN + sizeof connector], &operation, sizeof operation);
  return send_to_kernel(fd, message);
}

// Takes apart one message; false when it is not a process event.
bool parse_event(std::string_view payload, cn_msg& connector, EventHead& head,
                 std::string_view& ids) {
  if (!read_struct(payload, connector)) return false;
  if (connector.id.idx != CN_IDX_PROC || connector.id.val != CN_VAL_PROC) return false;
  payload.remove_prefix(sizeof connector);
  if (!read_struct(payload, head)) return false;
  ids = payload.substr(sizeof head);
  return true;
}

// Nothing when no answer came within kAckTimeoutMs.
std::optional<int> wait_for_listen_ack(int fd, uint32_t token) {
  const SystemClock clock;
  uint64_t deadline = clock.monotonic_ns() + uint64_t{kAckTimeoutMs} * 1000000;
  std::vector<char> storage;
  Datagrams datagrams;
  do {
    receive(fd, true, storage, datagrams);
    for (std::string_view datagram : datagrams.messages) {
      if (std::optional<int> error = find_listen_ack(datagram, token)) return error;
    }
  } while (datagrams.status == ReadStatus::kOk && clock.monotonic_ns() < deadline);
  return std::nullopt;
}

// False when it is no fork, exec or exit, or too short for one.
bool decode_event(const EventHead& head, std::string_view ids, ProcEvent& event) {
  uint32_t words[6] = {};
  std::memcpy(words, ids.data(), std::min(ids.size(), sizeof words));
  const auto id = [&words](int index) { return static_cast<int>(words[index]); };
  event.t_mono_ns = head.timestamp_ns;
  switch (head.what) {
    case kForkEvent:
      event.kind = ProcEvent::Kind::kFork;
      event.parent_tid = id(0);
      event.parent_tgid = id(1);
      event.tid = id(2);
      event.tgid = id(3);
      return ids.size() >= 16;
    case kExecEvent:
      event.kind = ProcEvent::Kind::kExec;
      event.tid = id(0);
      event.tgid = id(1);
      return ids.size() >= 8;
    case kExitEvent:
      event.kind = ProcEvent::Kind::kExit;
      event.tid = id(0);
      event.tgid = id(1);
      event.exit_code = words[2];
      event.parent_tid = id(4);
      event.parent_tgid = id(5);
      return ids.size() >= 16;
    default:
      return false;
  }
}

}  // namespace

std::optional<int> find_listen_ack(std::string_view datagram, uint32_t token) {
  nlmsghdr header{};
  std::string_view payload;
  while (next_message(datagram, header, payload)) {
    cn_msg connector{};
    EventHead head{};
    std::string_view ids;
    uint32_t error = 0;
    if (!parse_event(payload, connector, head, ids)) continue;
    if (head.what == kNoEvent && connector.ack == token + 1 && read_struct(ids, error)) {
      return static_cast<int>(error);
    }
  }
  return std::nullopt;
}

size_t parse_proc_events(std::string_view datagram, std::vector<ProcEvent>& out) {
  size_t unwanted = 0;
  nlmsghdr header{};
  std::string_view payload;
  while (next_message(datagram, header, payload)) {
    cn_msg connector{};
    EventHead head{};
    std::string_view ids;
    ProcEvent event;
    if (!parse_event(payload, connector, head, ids)) continue;
    if (decode_event(head, ids, event)) {
      out.push_back(event);
    } else if (head.what != kNoEvent) {
      unwanted++;
    }
  }
  return unwanted;
}

Result<std::unique_ptr<ProcConnector>> ProcConnector::open() {
  using Opened = Result<std::unique_ptr<ProcConnector>>;
  Result<UniqueFd> socket = open_netlink(NETLINK_CONNECTOR, CN_IDX_PROC, kAckTimeoutMs);
  if (!socket.ok()) return Opened::fail(socket.status);
  enlarge_receive_buffer(socket.value.get(), kReceiveBufferBytes);
  std::unique_ptr<ProcConnector> connector(new ProcConnector());
  connector->socket_ = std::move(socket.value);
  int fd = connector->socket_.get();

  // Acknowledgements are told apart from those of other listeners by a number that is ours alone.
  const auto token = static_cast<uint32_t>(SystemClock().monotonic_ns());
  const uint32_t listen = PROC_CN_MCAST_LISTEN;
  Result<bool> sent = send_operation(fd, listen, token);
  if (!sent.ok()) return Opened::fail(sent.status);
  std::optional<int> error = wait_for_listen_ack(fd, token);
  // In another user or PID namespace the kernel ignores the operation without a word; events would
  // come all the same while somebody else listens, and stop when that one goes.
  if (!error) return Opened::fail(ReadStatus::kUnsupported);
  if (*error != 0) return Opened::fail_errno(*error);
  // The filter comes second, so that it costs nothing where it is ignored. Nobody acknowledges it:
  // where it works it holds back its own acknowledgement.
  const FilteredListen filtered{PROC_CN_MCAST_LISTEN, kForkEvent | kExecEvent | kExitEvent};
  sent = send_operation(fd, filtered, token);
  if (!sent.ok()) return Opened::fail(sent.status);
  return Opened::of(std::move(connector));
}

Result<std::unique_ptr<ProcConnector>> ProcConnector::adopt(UniqueFd socket) {
  using Opened = Result<std::unique_ptr<ProcConnector>>;
  if (!is_netlink(socket.get(), NETLINK_CONNECTOR)) return Opened::fail(ReadStatus::kUnsupported);
  std::unique_ptr<ProcConnector> connector(new ProcConnector());
  connector->socket_ = std::move(socket);
  return Opened::of(std::move(connector));
}

ProcConnector::~ProcConnector() {
  if (outlives_) return;
  // Old kernels count listeners and would go on producing events for nobody.
  uint32_t ignore = PROC_CN_MCAST_IGNORE;
  (void)send_operation(socket_.get(), ignore, 0);
}

void ProcConnector::drain(std::vector<ProcEvent>& out) {
  out.insert(out.end(), unread_.begin(), unread_.end());
  unread_.clear();
  for (int round = 0; round < kMaxRounds; round++) {
    receive(socket_.get(), false, buffer_, datagrams_);
    if (datagrams_.overrun) {
      lost_++;
      continue;
    }
    for (std::string_view datagram : datagrams_.messages) {
      unwanted_ += parse_proc_events(datagram, out);
    }
    if (datagrams_.received < kBatch) return;
  }
}

}  // namespace lezea
