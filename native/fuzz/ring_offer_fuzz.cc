// What a stranger sends to ring.sock: any message, with any number of descriptors, over a real socket. The
// token is believed in one shape only, no descriptor stays behind, and an answer is one message.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "fuzz.h"
#include "scope/ring_offer.h"

namespace lezea::fuzz {
namespace {

constexpr size_t kTokenBytes = 32;
constexpr size_t kMostFds = 5;

// The same rule written another way: without white space between its words the message is exactly this.
void check_token(std::string_view message, const std::string& token) {
  if (token.empty()) return;
  EXPECT(token.size() == kTokenBytes);
  EXPECT(token.find_first_not_of("0123456789abcdef") == std::string::npos);
  std::string words(message);
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  words.erase(std::remove_if(words.begin(), words.end(), is_space), words.end());
  EXPECT(words == "{\"session\":\"" + token + "\"}");
}

bool send_with(int socket_fd, std::string_view text, size_t fd_count) {
  const std::vector<int> fds(fd_count, socket_fd);
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  iovec part{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
  }
  return ::sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

int lowest_free_fd() { return UniqueFd(::fcntl(0, F_DUPFD_CLOEXEC, 0)).get(); }

// As the acceptor's thread does it: who is it, what came, one answer.
std::string serve(int socket_fd, std::string_view text, size_t fd_count) {
  std::string token;
  if (const char* why = peek_token(socket_fd, &token)) {
    EXPECT(token.empty());
    return why;
  }
  EXPECT(token == parse_offer(text));
  UniqueFd fd;
  const char* why = receive_descriptor(socket_fd, &fd);
  EXPECT((why == nullptr) == (fd_count == 1));
  EXPECT((why == nullptr) == static_cast<bool>(fd));
  return why == nullptr ? "" : why;
}

void exchange(std::string_view text, size_t fd_count) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  const UniqueFd client(ends[0]);
  UniqueFd agent(ends[1]);
  if (!send_with(client.get(), text, fd_count)) return;
  const std::string why = serve(agent.get(), text, fd_count);
  answer_offer(agent.get(), why);
  agent.reset();
  char answer[256];
  const ssize_t got = ::recv(client.get(), answer, sizeof answer, MSG_DONTWAIT);
  EXPECT(got > 0);
  const std::string_view said(answer, static_cast<size_t>(got));
  EXPECT(said == (why.empty() ? "{\"accepted\":true}" : "{\"refused\":\"" + why + "\"}"));
  EXPECT(::recv(client.get(), answer, sizeof answer, MSG_DONTWAIT) == 0);
}

}  // namespace
}  // namespace lezea::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lezea;
  fuzz::Input input(data, size);
  const size_t fd_count = input.byte() % (fuzz::kMostFds + 1);
  const std::string_view text = input.rest();
  fuzz::check_token(text, parse_offer(text));
  const int before = fuzz::lowest_free_fd();
  fuzz::exchange(text, fd_count);
  EXPECT(fuzz::lowest_free_fd() == before);
  return 0;
}
