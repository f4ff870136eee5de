// The first byte cuts the rest in two texts. The delta between them comes back by the decoder of the tests,
// and that of UTF-8 is UTF-8.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "../cpp/protocol/fossil_oracle.hpp"
#include "protocol/fossil_delta.hpp"
#include "protocol/utf8.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace carillon;
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(bytes + 1), size - 1);
  const std::string_view source = rest.substr(0, rest.size() * bytes[0] / 256);
  const std::string_view target = rest.substr(source.size());
  if (apply_fossil(source, fossil_delta(source, target, DeltaCuts::bytes)) != target) std::abort();
  if (!is_utf8(target)) return 0;
  const std::string delta = fossil_delta(source, target, DeltaCuts::characters);
  if (!is_utf8(delta) || apply_fossil(source, delta) != target) std::abort();
  return 0;
}
