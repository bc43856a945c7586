// See refusals.h.
#include "nvml/refusals.h"

#include <algorithm>

#include "nvml/errors.h"

namespace lezea::nvml {
namespace {

constexpr uint64_t kFirstPauseNs = 1'000'000'000;
constexpr uint64_t kLongestPauseNs = 60'000'000'000;

}  // namespace

std::optional<Return> Refusals::standing(const Question& question, uint64_t now_ns) const {
  const auto found = refused_.find(question);
  if (found == refused_.end()) return std::nullopt;
  const Refusal& refusal = found->second;
  if (refusal.pause_ns > 0 && now_ns >= refusal.until_ns) return std::nullopt;
  return refusal.answer;
}

void Refusals::note(const Question& question, Return answer, uint64_t now_ns) {
  if (is_permanent(answer)) {
    refused_[question] = {answer, 0, 0};
    return;
  }
  const auto found = refused_.find(question);
  if (!is_passing(answer)) {
    if (found != refused_.end()) refused_.erase(found);
    return;
  }
  const uint64_t last_ns = found == refused_.end() ? 0 : found->second.pause_ns;
  const uint64_t pause_ns = std::clamp(2 * last_ns, kFirstPauseNs, kLongestPauseNs);
  refused_[question] = {answer, pause_ns, now_ns + pause_ns};
}

}  // namespace lezea::nvml
