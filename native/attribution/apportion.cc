// Hamilton's method (largest remainder) in 128-bit integers.

#include "attribution/apportion.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <utility>

namespace lezea {
namespace {

int bits(Amount value) {
  int count = 0;
  while (value != 0) {
    value >>= 1;
    ++count;
  }
  return count;
}

// Keeps sum × weight inside 128 bits. Times never need it.
int shift_for(Amount sum) { return std::max(0, bits(sum) - 63); }

void hand_out_remainder(uint64_t left, std::vector<std::pair<Amount, size_t>>& remainders,
                        std::vector<Amount>& parts) {
  const auto larger = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  std::partial_sort(remainders.begin(), remainders.begin() + static_cast<ptrdiff_t>(left),
                    remainders.end(), larger);
  for (uint64_t i = 0; i < left; ++i) parts[remainders[i].second] += 1;
}

}  // namespace

void apportion(Amount amount, const std::vector<uint64_t>& weights, std::vector<Amount>& parts) {
  assert(!weights.empty());
  parts.assign(weights.size(), 0);
  Amount sum = 0;
  for (const uint64_t weight : weights) sum += weight;
  if (sum == 0 || weights.size() == 1) {
    parts[0] = amount;
    return;
  }
  const int shift = shift_for(sum);
  sum = 0;
  for (const uint64_t weight : weights) sum += weight >> shift;

  const Amount whole = amount / sum;
  const Amount rest = amount % sum;
  Amount given = 0;
  static thread_local std::vector<std::pair<Amount, size_t>> remainders;
  remainders.clear();
  for (size_t i = 0; i < weights.size(); ++i) {
    const Amount weight = weights[i] >> shift;
    const Amount product = rest * weight;
    parts[i] = whole * weight + product / sum;
    given += parts[i];
    if (product % sum != 0) remainders.emplace_back(product % sum, i);
  }
  hand_out_remainder(static_cast<uint64_t>(amount - given), remainders, parts);
}

}  // namespace lezea
