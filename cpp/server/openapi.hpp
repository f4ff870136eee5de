#pragma once

#include <string>
#include <string_view>

namespace carillon {

/// The HTTP API as an OpenAPI document, made from the tables that read its requests.
[[nodiscard]] std::string openapi(std::string_view version);

}  // namespace carillon
