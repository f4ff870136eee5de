#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

namespace carillon {

/// Lets a table of names be searched by a view, without a string made for the search.
struct NameHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view name) const noexcept { return std::hash<std::string_view>{}(name); }
};

}  // namespace carillon
