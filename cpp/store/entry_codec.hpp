#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "env/clock.hpp"
#include "store/entry.hpp"

namespace carillon {

/// Appends the bytes by which a store keeps an entry; its offset is not among them.
void encode_entry(const Entry& entry, std::string& bytes);
/// Null if the bytes are damaged, or of another version of the codec.
[[nodiscard]] std::shared_ptr<Entry> decode_entry(std::string_view bytes, Offset offset);
/// The entry's wall_ms without decoding the rest.
[[nodiscard]] std::optional<Millis> wall_ms_of_entry(std::string_view bytes);

}  // namespace carillon
