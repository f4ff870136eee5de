#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace carillon {

/// Where the target may be cut into copied and inserted pieces.
enum class DeltaCuts : std::uint8_t {
  bytes,      ///< anywhere
  characters  ///< between characters: the delta of valid UTF-8 then is valid UTF-8, too
};

/// The delta that makes `target` of `source`, in the format of Fossil (protocol.md section 18). It may be
/// longer than the target, by some 20 bytes. Takes linear time and memory, whatever the texts are.
[[nodiscard]] std::string fossil_delta(std::string_view source, std::string_view target, DeltaCuts cuts);

}  // namespace carillon
