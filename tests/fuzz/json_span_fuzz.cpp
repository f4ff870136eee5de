// The span reader against nlohmann: same verdict on every input, by every way of reading.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "../cpp/protocol/json_oracle.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace carillon;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const bool expected = oracle_is_json(text);
  if (is_json(text) != expected || walk_is_json(text) != expected) std::abort();
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') {
    if (reader_accepts<JsonObjectReader>(text) != expected) std::abort();
  } else if (first != std::string_view::npos && text[first] == '[') {
    if (reader_accepts<JsonArrayReader>(text) != expected) std::abort();
  }
  return 0;
}
