// Fuzz target of the negotiation of permessage-deflate. Whatever a client offers, the answer is none or one
// that a client which has made that offer can accept.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/ws_extensions.hpp"

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view offers(reinterpret_cast<const char*>(data), size);
  const std::optional<std::string> answer = carillon::accept_permessage_deflate(offers, 12);
  if (!answer) return 0;
  require(offers.find("permessage-deflate") != std::string_view::npos, "it was offered");
  require(answer->find("server_no_context_takeover") != std::string::npos, "the server keeps no window");
  require(answer->find("client_no_context_takeover") != std::string::npos, "nor does the client");
  require(answer->find("_max_window_bits") == std::string::npos ||
              offers.find("server_max_window_bits") != std::string_view::npos,
          "a window is limited where that was asked for");
  require(carillon::accept_permessage_deflate(*answer, 12) == answer, "the answer is an offer of its own");
  return 0;
}
