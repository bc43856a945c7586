// One offer of a ring on the wire: {"session":"<token>"} with one descriptor, and its answer.
//
// Who offers is looked at first, by peeking: a descriptor that never gets a number in this process
// is dropped without the close(2) that a stranger's file system can hang for ever.
#pragma once

#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace lezea {

// The token of the message that waits at a connected SOCK_SEQPACKET socket, which it leaves there.
// Null, or the word for what is wrong: no_message, too_large, malformed.
const char* peek_token(int socket_fd, std::string* token);

// Takes that message and its one descriptor. Null, or the word for what is wrong: no_message,
// control_truncated, no_descriptor, too_many_descriptors; whatever came is closed then.
const char* receive_descriptor(int socket_fd, UniqueFd* fd);

// The token, 32 of [0-9a-f], in {"session":"<token>"}; white space is allowed between the words.
// Empty if the message is anything else.
std::string parse_offer(std::string_view message);

// Says yes if `refusal` is empty, else no, and lets go of the sender. A socket closed with unread
// messages would give it ECONNRESET in place of the answer, so what is left is read away.
void answer_offer(int socket_fd, const std::string& refusal);

}  // namespace lezea
