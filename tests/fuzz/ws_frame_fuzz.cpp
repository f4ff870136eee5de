// Fuzz target of the WebSocket frame parser. Whatever a client sends, and in whatever pieces it arrives, the
// events are the same, and everything stays inside its limits.
//
// Input: one byte picks the longest message and, if it is odd, compressed ones (which the parser leaves as
// they are); eight are the sizes of the pieces (taken in turn, 0 for an empty one), the rest is what the
// client sends.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/utf8.hpp"
#include "protocol/ws_frame.hpp"

namespace {

using carillon::WsEvent;
using carillon::WsEventKind;
using carillon::WsOpcode;
using carillon::WsParser;

constexpr std::size_t kPieceSizes = 8;
constexpr std::size_t kPrefixBytes = 1 + kPieceSizes;
constexpr std::size_t kParserFixedBytesMax = 512;

struct Seen {
  WsEventKind kind;
  WsOpcode opcode;
  std::string payload;
  std::uint16_t close_code;
  bool is_compressed;

  bool operator==(const Seen&) const = default;
};

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

void check_event(const WsEvent& event, std::size_t message_bytes_max) {
  const std::size_t bytes = event.payload.size();
  switch (event.kind) {
    case WsEventKind::need_more:
      break;
    case WsEventKind::message:
      require(event.opcode == WsOpcode::text || event.opcode == WsOpcode::binary, "a message has a kind");
      require(bytes <= message_bytes_max, "a message is within its limit");
      require(event.opcode == WsOpcode::binary || event.is_compressed || carillon::is_utf8(event.payload),
              "a text is UTF-8");
      break;
    case WsEventKind::ping:
    case WsEventKind::pong:
      require(bytes <= carillon::kWsControlBytesMax, "a control frame is within its limit");
      break;
    case WsEventKind::close:
      require(bytes <= carillon::kWsCloseReasonBytesMax, "a reason is within its limit");
      require(carillon::is_utf8(event.payload), "a reason is UTF-8");
      require(event.close_code >= 1000 && event.close_code < 5000, "a close code is in range");
      break;
    case WsEventKind::error:
      require(event.close_code == 1002 || event.close_code == 1007 || event.close_code == 1009,
              "an error has one of three codes");
      require(
          event.error != nullptr && std::string_view(event.error).size() <= carillon::kWsCloseReasonBytesMax,
          "an error is fit to be a reason");
      break;
  }
}

// Each piece lies in a heap block of exactly its size, which is gone before the next one comes: the sanitizer
// sees a step past its end, and a view that outlives it.
void feed(WsParser& parser, std::string_view piece, std::size_t message_bytes_max,
          std::vector<Seen>& events) {
  const auto buffer = std::make_unique<char[]>(piece.size());
  std::ranges::copy(piece, buffer.get());
  std::span<char> input(buffer.get(), piece.size());
  for (;;) {
    const bool was_finished = parser.is_finished();
    const WsEvent event = parser.next(input);
    check_event(event, message_bytes_max);
    require(parser.heap_bytes() <= message_bytes_max + kParserFixedBytesMax, "memory is bounded");
    if (event.kind == WsEventKind::need_more) break;
    require(!was_finished, "nothing follows a close or an error");
    events.push_back(
        {event.kind, event.opcode, std::string(event.payload), event.close_code, event.is_compressed});
  }
  require(input.empty(), "need_more leaves no input");
  require(parser.has_partial() || parser.heap_bytes() == 0, "an idle parser holds nothing");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < kPrefixBytes) return 0;
  const std::size_t message_bytes_max = std::size_t{data[0]} * 8;
  const std::span<const std::uint8_t> piece_bytes(data + 1, kPieceSizes);
  const std::string_view wire(reinterpret_cast<const char*>(data) + kPrefixBytes, size - kPrefixBytes);

  std::vector<Seen> whole;
  const bool allows_compressed = data[0] % 2 == 1;
  WsParser whole_parser(message_bytes_max, allows_compressed);
  feed(whole_parser, wire, message_bytes_max, whole);

  std::vector<Seen> split;
  WsParser split_parser(message_bytes_max, allows_compressed);
  const bool all_empty = std::ranges::all_of(piece_bytes, [](std::uint8_t bytes) { return bytes == 0; });
  std::string_view rest = wire;
  for (std::size_t turn = 0; !rest.empty(); ++turn) {
    const std::size_t wanted = all_empty ? 1 : piece_bytes[turn % kPieceSizes];
    const std::string_view piece = rest.substr(0, wanted);
    feed(split_parser, piece, message_bytes_max, split);
    rest.remove_prefix(piece.size());
  }

  require(whole == split, "events do not depend on the pieces");
  require(whole_parser.is_finished() == split_parser.is_finished(), "the end does not depend on the pieces");
  require(whole_parser.has_partial() == split_parser.has_partial(), "the rest does not depend on the pieces");
  return 0;
}
