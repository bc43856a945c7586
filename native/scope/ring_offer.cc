// Receives an offer and believes nothing about its text or its descriptors.
#include "scope/ring_offer.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace lezea {
namespace {

constexpr size_t kMaxMessage = 256;
constexpr size_t kTokenBytes = 32;

// Every descriptor the kernel has put into this process, wanted or not.
std::vector<UniqueFd> descriptors_of(msghdr* message) {
  std::vector<UniqueFd> found;
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      found.emplace_back(fd);
    }
  }
  return found;
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// Skips white space and then `word`, if the text goes on like that.
bool skip(std::string_view& text, std::string_view word) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  if (text.substr(0, word.size()) != word) return false;
  text.remove_prefix(word.size());
  return true;
}

}  // namespace

std::string parse_offer(std::string_view message) {
  std::string_view text = message;
  if (!skip(text, "{") || !skip(text, "\"session\"") || !skip(text, ":") || !skip(text, "\"")) {
    return {};
  }
  std::string_view token = text.substr(0, kTokenBytes);
  text.remove_prefix(token.size());
  if (token.size() != kTokenBytes || !std::all_of(token.begin(), token.end(), is_hex)) return {};
  if (text.empty() || text.front() != '"' || !skip(text, "\"") || !skip(text, "}")) return {};
  return skip(text, "") && text.empty() ? std::string(token) : std::string();
}

const char* peek_token(int socket_fd, std::string* token) {
  char text[kMaxMessage];
  // MSG_TRUNC: the message's own length, also when it is more than there is room for.
  ssize_t got;
  do {
    got = ::recv(socket_fd, text, sizeof text, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return "no_message";
  if (static_cast<size_t>(got) > sizeof text) return "too_large";
  *token = parse_offer(std::string_view(text, static_cast<size_t>(got)));
  return token->empty() ? "malformed" : nullptr;
}

const char* receive_descriptor(int socket_fd, UniqueFd* fd) {
  char text;
  // Room for one descriptor; alignment makes that two. More come as MSG_CTRUNC.
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec parts{&text, sizeof text};
  msghdr message{};
  message.msg_iov = &parts;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return "no_message";
  std::vector<UniqueFd> descriptors = descriptors_of(&message);
  if (message.msg_flags & MSG_CTRUNC) return "control_truncated";
  if (descriptors.empty()) return "no_descriptor";
  if (descriptors.size() > 1) return "too_many_descriptors";
  *fd = std::move(descriptors.front());
  return nullptr;
}

void answer_offer(int socket_fd, const std::string& refusal) {
  std::string text = refusal.empty() ? "{\"accepted\":true}" : "{\"refused\":\"" + refusal + "\"}";
  // A client that has gone wants no answer.
  (void)!::send(socket_fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(socket_fd, SHUT_RD);
  char rest;
  while (::recv(socket_fd, &rest, sizeof rest, MSG_DONTWAIT) > 0) {
  }
}

}  // namespace lezea
