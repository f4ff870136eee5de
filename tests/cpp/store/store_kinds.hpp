#pragma once

#include <vector>

#include "store/store_factory.hpp"

namespace carillon {

/// All stores that the conformance suite runs with.
[[nodiscard]] std::vector<StoreKind> store_kinds();
/// Those for which `trait` is true.
[[nodiscard]] std::vector<StoreKind> store_kinds_that(bool StoreKind::* trait);

}  // namespace carillon
