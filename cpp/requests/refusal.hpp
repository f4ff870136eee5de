#pragma once

#include <string>

#include "protocol/centrifuge_codes.hpp"

namespace carillon {

/// Why a request is not done: one of the protocol's errors, and what is wrong, which names the field, its
/// value and the remedy. The text may be empty.
struct Refusal {
  ErrorCode error{0, ""};  ///< code 0: it is done
  std::string text;

  [[nodiscard]] bool is_refused() const { return error.code != 0; }
  /// The error with the text, for the wire.
  [[nodiscard]] std::string message() const;
};

}  // namespace carillon
