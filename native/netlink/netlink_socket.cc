// Netlink plumbing. Reads datagrams that the kernel sent, refuses everybody else's.
#include "netlink/netlink_socket.h"

#include <linux/genetlink.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>

namespace lezea {
namespace {

// The longest message here is a taskstats exit record with its group record: 1172 bytes in version
// 16 of the structure. Room for it to double.
constexpr size_t kDatagramBytes = 4096;

bool from_kernel(const sockaddr_nl& sender, const msghdr& message) {
  return message.msg_namelen == sizeof sender && sender.nl_family == AF_NETLINK &&
         sender.nl_pid == 0;
}

}  // namespace

Result<UniqueFd> open_netlink(int protocol, uint32_t groups, int timeout_ms) {
  using Opened = Result<UniqueFd>;
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd) return Opened::fail_errno(errno);
  timeval timeout{timeout_ms / 1000, (timeout_ms % 1000) * 1000};
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0) {
    return Opened::fail_errno(errno);
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return Opened::fail_errno(errno);
  }
  return Opened::of(std::move(fd));
}

bool is_netlink(int fd, int protocol) {
  const auto is = [fd](int option, int wanted) {
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 && value == wanted;
  };
  return is(SO_DOMAIN, AF_NETLINK) && is(SO_PROTOCOL, protocol);
}

void enlarge_receive_buffer(int fd, int bytes) {
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) == 0) return;
  // Without the privilege the kernel gives as much as net.core.rmem_max allows; a smaller buffer
  // shows as counted losses.
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

Result<bool> send_to_kernel(int fd, std::string_view bytes) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do {
    sent = sendto(fd, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel),
                  sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Result<bool>::fail_errno(errno);
  return Result<bool>::of(true);
}

void receive(int fd, bool wait, std::vector<char>& storage, Datagrams& out) {
  out.messages.clear();
  out.overrun = false;
  out.received = 0;
  out.status = ReadStatus::kOk;
  storage.resize(kBatch * kDatagramBytes);
  mmsghdr headers[kBatch] = {};
  iovec vectors[kBatch];
  sockaddr_nl senders[kBatch] = {};
  for (int i = 0; i < kBatch; i++) {
    vectors[i] = {storage.data() + i * kDatagramBytes, kDatagramBytes};
    headers[i].msg_hdr.msg_iov = &vectors[i];
    headers[i].msg_hdr.msg_iovlen = 1;
    headers[i].msg_hdr.msg_name = &senders[i];
    headers[i].msg_hdr.msg_namelen = sizeof senders[i];
  }
  int count;
  do {
    count = recvmmsg(fd, headers, kBatch, wait ? MSG_WAITFORONE : MSG_DONTWAIT, nullptr);
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    out.overrun = errno == ENOBUFS;
    bool nothing = errno == EAGAIN || errno == EWOULDBLOCK;
    if (!out.overrun && !nothing) out.status = status_of_errno(errno);
    return;
  }
  out.received = count;
  for (int i = 0; i < count; i++) {
    const msghdr& message = headers[i].msg_hdr;
    if ((message.msg_flags & MSG_TRUNC) != 0 || !from_kernel(senders[i], message)) continue;
    out.messages.emplace_back(static_cast<char*>(vectors[i].iov_base), headers[i].msg_len);
  }
}

bool next_message(std::string_view& datagram, nlmsghdr& header, std::string_view& payload) {
  if (!read_struct(datagram, header)) return false;
  if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > datagram.size()) return false;
  payload = datagram.substr(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
  datagram.remove_prefix(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), datagram.size()));
  return true;
}

bool next_attribute(std::string_view& attributes, uint16_t& type, std::string_view& value) {
  nlattr header{};
  if (!read_struct(attributes, header)) return false;
  if (header.nla_len < NLA_HDRLEN || header.nla_len > attributes.size()) return false;
  type = header.nla_type & NLA_TYPE_MASK;
  value = attributes.substr(NLA_HDRLEN, header.nla_len - NLA_HDRLEN);
  attributes.remove_prefix(std::min<size_t>(NLA_ALIGN(header.nla_len), attributes.size()));
  return true;
}

void append_attribute(std::string& out, uint16_t type, std::string_view value) {
  nlattr header{static_cast<uint16_t>(NLA_HDRLEN + value.size()), type};
  out.append(reinterpret_cast<const char*>(&header), sizeof header);
  out.append(value.data(), value.size());
  out.append(NLA_ALIGN(value.size()) - value.size(), '\0');
}

void append_generic_request(std::string& out, const GenericRequest& request,
                            std::string_view attributes) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<uint32_t>(NLMSG_HDRLEN + GENL_HDRLEN + attributes.size());
  header.nlmsg_type = request.family;
  header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | request.flags);
  header.nlmsg_seq = request.sequence;
  genlmsghdr generic{request.command, request.version, 0};
  out.append(reinterpret_cast<const char*>(&header), sizeof header);
  out.append(reinterpret_cast<const char*>(&generic), sizeof generic);
  out.append(attributes.data(), attributes.size());
}

bool error_of(std::string_view payload, int& error) {
  // What the kernel's own MAX_ERRNO leaves room for.
  constexpr int32_t kMostErrno = 4095;
  int32_t negative = 0;
  if (!read_struct(payload, negative) || negative > 0 || negative < -kMostErrno) return false;
  error = -negative;
  return true;
}

Result<uint16_t> resolve_generic_family(int fd, const char* family_name) {
  using Family = Result<uint16_t>;
  std::string attributes;
  append_attribute(attributes, CTRL_ATTR_FAMILY_NAME,
                   std::string_view(family_name, std::strlen(family_name) + 1));
  std::string request;
  append_generic_request(request, {GENL_ID_CTRL, 0, 1, CTRL_CMD_GETFAMILY, 1}, attributes);
  Result<bool> sent = send_to_kernel(fd, request);
  if (!sent.ok()) return Family::fail(sent.status);

  std::vector<char> storage;
  Datagrams datagrams;
  receive(fd, true, storage, datagrams);
  if (datagrams.status != ReadStatus::kOk) return Family::fail(datagrams.status);
  for (std::string_view datagram : datagrams.messages) {
    if (const std::optional<uint16_t> id = find_family_id(datagram)) return Family::of(*id);
  }
  return Family::fail(ReadStatus::kUnsupported);
}

std::optional<uint16_t> find_family_id(std::string_view datagram) {
  nlmsghdr header{};
  std::string_view payload;
  if (!next_message(datagram, header, payload) || header.nlmsg_type != GENL_ID_CTRL ||
      payload.size() < GENL_HDRLEN) {
    return std::nullopt;
  }
  payload.remove_prefix(GENL_HDRLEN);
  uint16_t type = 0;
  std::string_view value;
  while (next_attribute(payload, type, value)) {
    uint16_t id = 0;
    if (type == CTRL_ATTR_FAMILY_ID && read_struct(value, id)) return id;
  }
  return std::nullopt;
}

ReadStatus wait_for_ack(int fd, uint32_t sequence) {
  std::vector<char> storage;
  Datagrams datagrams;
  // A listener's first records may come before the answer.
  for (int round = 0; round < kMaxRounds; round++) {
    receive(fd, true, storage, datagrams);
    if (datagrams.status != ReadStatus::kOk) return datagrams.status;
    if (datagrams.received == 0 && !datagrams.overrun) break;
    for (std::string_view datagram : datagrams.messages) {
      if (const std::optional<ReadStatus> answer = find_ack(datagram, sequence)) return *answer;
    }
  }
  return ReadStatus::kUnsupported;
}

std::optional<ReadStatus> find_ack(std::string_view datagram, uint32_t sequence) {
  nlmsghdr header{};
  std::string_view payload;
  while (next_message(datagram, header, payload)) {
    int error = 0;
    if (header.nlmsg_type != NLMSG_ERROR || header.nlmsg_seq != sequence) continue;
    if (!error_of(payload, error)) return ReadStatus::kMalformed;
    return error == 0 ? ReadStatus::kOk : status_of_errno(error);
  }
  return std::nullopt;
}

}  // namespace lezea
