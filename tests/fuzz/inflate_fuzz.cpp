// Fuzz target of the inflater. Whatever a client sends, the result is within its limit, and the next message
// is read as if nothing had been before it. What the compressor makes of the input is inflated to the same.
//
// Input: two bytes are the limit, the rest is what the client sends.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "deflate/deflate.hpp"

namespace {

using carillon::InflateResult;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t bytes_max = std::size_t{data[0]} << 8 | data[1];
  const std::string_view wire(reinterpret_cast<const char*>(data) + 2, size - 2);

  std::string text;
  const InflateResult result = carillon::inflate(wire, bytes_max, text);
  require(text.size() <= bytes_max + 1, "nothing grows beyond the limit");
  require(result != InflateResult::whole || text.size() <= bytes_max, "a whole message is within it");
  std::string again;
  require(carillon::inflate(wire, bytes_max, again) == result,
          "the result does not depend on what was before");
  require(result != InflateResult::whole || again == text, "nor does the text");

  std::string compressed;
  if (carillon::deflate(wire, 1 + data[0] % 9, compressed)) {
    require(compressed.size() < wire.size(), "it is shorter");
    require(carillon::inflate(compressed, wire.size(), again) == InflateResult::whole && again == wire,
            "it is inflated to what it was");
  }
  return 0;
}
