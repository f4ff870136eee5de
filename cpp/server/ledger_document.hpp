#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "hub/ledger.hpp"

namespace carillon {

/// The ledger as a JSON object: sums over all channels, and a row per channel, by name. With `rows` at most
/// that many rows: first those that do not balance, then those with most drops.
[[nodiscard]] std::string ledger_document(Ledger ledger, std::optional<std::size_t> rows = std::nullopt);

}  // namespace carillon
