// Integer division of one amount among weights, exact to the last unit. Owns no state.

#pragma once

#include <cstdint>
#include <vector>

#include "attribution/columns.h"

namespace lezea {

// Parts proportional to the weights, by largest remainder (ties to the earlier), that sum to `amount`
// exactly. With all weights 0 the first part gets everything. `weights` must not be empty.
void apportion(Amount amount, const std::vector<uint64_t>& weights, std::vector<Amount>& parts);

}  // namespace lezea
