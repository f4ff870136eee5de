#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace carillon {

using Tag = std::pair<std::string, std::string>;

/// How a publication's data is sent to a subscriber (protocol.md section 18).
enum class DataForm : std::uint8_t {
  plain,
  full,  ///< to who gets deltas: in JSON, the text of the data is a string
  delta  ///< `data` is the delta to the data of the publication before
};

/// What the encoders need to know of a publication; owns nothing. All text is valid UTF-8.
struct PublicationView {
  std::string_view data = {};  ///< JSON text, or any bytes when !is_json
  bool is_json = true;         ///< fixed at publish
  DataForm form = DataForm::plain;
  std::string_view info_json = {};  ///< the publisher as append_client_info() writes it; empty for the server
  std::span<const Tag> tags = {};
  std::uint64_t offset = 0;     ///< 0: an entry without an offset
  std::string_view epoch = {};  ///< only written on offset 1, for the Centrifuge protocol
};

}  // namespace carillon
