#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "hub/ledger.hpp"

namespace carillon {

/// The ledger as a JSON object: the sums over all channels, and a row for each, by name. With `rows` so many
/// at most, and those first that need a look: unbalanced ones, then those with most drops.
[[nodiscard]] std::string ledger_document(Ledger ledger, std::optional<std::size_t> rows = std::nullopt);

}  // namespace carillon
