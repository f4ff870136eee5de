#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace carillon::load {

/// A message that was compressed without a window that outlives it (RFC 7692); nothing: it is broken. One
/// inflater per thread.
std::optional<std::string> inflate_message(std::string_view compressed);

}  // namespace carillon::load
