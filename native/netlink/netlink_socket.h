// The few netlink operations that taskstats and the process connector need: open, send, receive
// batches that really come from the kernel, walk messages and attributes with bounds checks.
#pragma once

#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace lezea {

// The most datagrams that one receive takes, and the most receives that one drain makes: what a
// flood leaves waits for the next drain.
constexpr int kBatch = 64;
constexpr int kMaxRounds = 1024;

// `groups` is the bit mask of multicast groups 1..32. Receives wait at most `timeout_ms`.
Result<UniqueFd> open_netlink(int protocol, uint32_t groups, int timeout_ms);

// Whether it is a netlink socket of this protocol.
bool is_netlink(int fd, int protocol);

// Raises the receive buffer, beyond the system's limit where CAP_NET_ADMIN allows.
void enlarge_receive_buffer(int fd, int bytes);

// One datagram to the kernel.
Result<bool> send_to_kernel(int fd, std::string_view bytes);

// What one receive gave: datagrams (views into `storage`, valid until the next receive).
struct Datagrams {
  std::vector<std::string_view> messages;
  int received = 0;  // datagrams taken, those left out of `messages` included
  ReadStatus status = ReadStatus::kOk;
  bool overrun = false;  // ENOBUFS: the kernel threw messages away since the last receive
};

// Waits for the first datagram (at most the socket's timeout) unless `wait` is false, then takes
// what else is there, at most kBatch: less means that it was emptied. Datagrams from other
// processes and truncated ones are left out of `messages`. received 0 with kOk and no overrun:
// nothing came.
void receive(int fd, bool wait, std::vector<char>& storage, Datagrams& out);

// The next netlink message of a datagram; `payload` is what follows its header. False at the end
// and at the first malformed length.
bool next_message(std::string_view& datagram, nlmsghdr& header, std::string_view& payload);

// The next attribute of a payload; likewise.
bool next_attribute(std::string_view& attributes, uint16_t& type, std::string_view& value);

// A fixed-size kernel structure or number from the front of a payload.
template <class T>
bool read_struct(std::string_view bytes, T& out) {
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(&out, bytes.data(), sizeof(T));
  return true;
}

// Appends one attribute with its padding.
void append_attribute(std::string& out, uint16_t type, std::string_view value);

// Appends a generic netlink request; `attributes` as append_attribute made them.
struct GenericRequest {
  uint16_t family = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  uint8_t command = 0;
  uint8_t version = 1;
};
void append_generic_request(std::string& out, const GenericRequest& request,
                            std::string_view attributes);

// The number the kernel gave to a generic netlink family; kUnsupported when it has none.
Result<uint16_t> resolve_generic_family(int fd, const char* family_name);
// The same out of one datagram of the answer; nothing if it is not there.
std::optional<uint16_t> find_family_id(std::string_view datagram);

// The answer to an NLM_F_ACK request with this sequence number: kOk or the kernel's refusal.
ReadStatus wait_for_ack(int fd, uint32_t sequence);
// The same out of one datagram; nothing if it does not hold the answer.
std::optional<ReadStatus> find_ack(std::string_view datagram, uint32_t sequence);

// The errno (positive) of an NLMSG_ERROR payload; 0 is an acknowledgement. False if it is too short
// or holds no errno.
bool error_of(std::string_view payload, int& error);

}  // namespace lezea
