// What is remembered of where a process's time went: bounded, whatever its scopes are.
#include "attribution/scope_history.h"

#include <utility>
#include <vector>

#include "check.h"

using lezea::ScopeHistory;

namespace {

using Weights = std::vector<std::pair<uint32_t, uint64_t>>;

uint64_t known_ns(const ScopeHistory& history) {
  uint64_t sum = 0;
  for (const auto& [slot, ns] : history.weigh(0, UINT64_MAX)) sum += ns;
  return sum;
}

}  // namespace

TEST("an interval is divided by where the time in it went") {
  ScopeHistory history;
  history.add(0, 100, {{1, 5}});
  history.add(100, 200, {{1, 7}});
  history.add(200, 300, {{1, 1}, {2, 3}});
  const ScopeHistory::Weights weights = history.weigh(50, 260);
  CHECK_EQ(weights.at(1), 150 + 15);
  CHECK_EQ(weights.at(2), 45);
  history.forget_before(200);
  CHECK_EQ(known_ns(history), 100);
}

TEST("of many short stays, and of a program of many scopes, what is older is forgotten") {
  ScopeHistory stays;
  for (uint64_t i = 0; i < 10'000; ++i)
    stays.add(i, i + 1, {{1 + static_cast<uint32_t>(i % 2), 1}});
  CHECK_EQ(known_ns(stays), 4'096);

  Weights many;
  for (uint32_t slot = 1; slot <= 10'000; ++slot) many.emplace_back(slot, 1);
  ScopeHistory scopes;
  for (uint64_t i = 0; i < 10; ++i) scopes.add(i * 10'000, (i + 1) * 10'000, many);
  CHECK_EQ(known_ns(scopes), 30'000);
  // What was forgotten is not counted any more.
  scopes.forget_before(UINT64_MAX);
  for (uint64_t i = 10; i < 13; ++i) scopes.add(i * 10'000, (i + 1) * 10'000, many);
  CHECK_EQ(known_ns(scopes), 30'000);
}
