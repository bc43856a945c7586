// Whose process numbers a driver tells. An agent in the initial PID namespace reads its own; in another one, drivers
// before 535.113 tell the host's numbers everywhere, which may be those of other processes here; from then on lists are
// translated and leave out whom the caller cannot see, from 565.57 on the memory in them, from 575.57 on samples of
// work, except that numbers which cannot be translated stay the host's (open-gpu-kernel-modules, history of
// releases). Pure.
#pragma once

#include <optional>
#include <string>

namespace lezea::nvml {

struct PidTrust {
  bool lists = true;          // who holds a device
  bool memory = true;         // how much of it
  bool work = true;           // who worked on it, where that one is in a list
  bool unlisted_work = true;  // or is not
};

PidTrust pid_trust(bool initial_namespace, const std::optional<std::string>& driver_version);

}  // namespace lezea::nvml
