#pragma once

#include <string>
#include <string_view>

namespace carillon {

/// The channel to which the server subscribes every client of a user (protocol.md section 15).
struct PersonalChannel {
  bool is_enabled = false;
  std::string name_space = {};        ///< empty: none
  bool is_single_connection = false;  ///< a user's newest connection ends the one before it

  [[nodiscard]] std::string of(std::string_view user) const {
    std::string channel = name_space;
    if (!channel.empty()) channel.push_back(':');
    return channel.append("#").append(user);
  }
};

}  // namespace carillon
