// See client_ids.h. A header, then entries of one size; read by the same program on the same machine.

#include "scope/client_ids.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <utility>

namespace lezea {
namespace {

constexpr char kMagic[8] = {'L', 'Z', 'I', 'D', 'S', '0', '0', '1'};
constexpr uint32_t kScope = 1;
constexpr uint32_t kThread = 2;
// 10 000 scopes a run, and as many threads as one process can have.
constexpr size_t kMostEntries = 1u << 17;

struct Header {
  char magic[8];
  int64_t clock_offset_ns;
  uint64_t own_namespace;
};

}  // namespace

struct ClientIds::Entry {
  uint32_t kind;
  uint32_t of_client;
  uint32_t ours;
};

ClientIds ClientIds::create(int64_t clock_offset_ns, bool own_namespace) {
  ClientIds ids;
  UniqueFd fd(memfd_create("lezea-client-ids", MFD_CLOEXEC));
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.clock_offset_ns = clock_offset_ns;
  header.own_namespace = own_namespace ? 1 : 0;
  if (fd.valid() && write(fd.get(), &header, sizeof header) == sizeof header)
    ids.fd_ = std::move(fd);
  return ids;
}

void ClientIds::add_scope(uint32_t client_scope, uint32_t slot) {
  add({kScope, client_scope, slot});
}

void ClientIds::add_thread(int inside, int tid) {
  add({kThread, static_cast<uint32_t>(inside), static_cast<uint32_t>(tid)});
}

// Part of it is worse than nothing: then there is no file.
void ClientIds::add(const Entry& entry) {
  if (!fd_.valid()) return;
  if (++entries_ > kMostEntries || write(fd_.get(), &entry, sizeof entry) != sizeof entry) {
    (void)!ftruncate(fd_.get(), 0);
    fd_.reset();
  }
}

std::optional<ClientMeanings> ClientIds::read(int fd) {
  Header header{};
  struct stat file{};
  if (fstat(fd, &file) != 0 || pread(fd, &header, sizeof header, 0) != sizeof header ||
      std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    return std::nullopt;
  }
  ClientMeanings meanings;
  meanings.clock_offset_ns = header.clock_offset_ns;
  meanings.own_namespace = header.own_namespace != 0;
  Entry entry{};
  off_t at = sizeof header;
  for (size_t i = 0; i < kMostEntries; ++i, at += sizeof entry) {
    if (pread(fd, &entry, sizeof entry, at) != sizeof entry) break;
    if (entry.kind == kScope) meanings.slots[entry.of_client] = entry.ours;
    if (entry.kind == kThread)
      meanings.tids[static_cast<int>(entry.of_client)] = static_cast<int>(entry.ours);
  }
  return meanings;
}

}  // namespace lezea
