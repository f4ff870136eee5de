#include "session/deflation.hpp"

#include <algorithm>

#include "protocol/ws_extensions.hpp"
#include "protocol/ws_frame.hpp"
#include "session/framing.hpp"

namespace carillon {

namespace {
/// Up to this size a message may be as many times its compressed size as it likes.
constexpr std::int64_t kBytesOfAnyRatio = 16'384;
}  // namespace

std::optional<std::string> Deflation::accept(std::string_view offers) const {
  if (!options_.is_offered || offers.empty()) return std::nullopt;
  return accept_permessage_deflate(offers, kDeflateWindowBits);
}

void Deflation::add_frame(std::string& message, Encoding encoding) const {
  if (message.size() >= options_.min_bytes) {
    deflated_.fetch_add(1, std::memory_order_relaxed);
    if (std::string compressed; deflate(message, options_.level, compressed)) {
      std::string frame;  // it may be kept for long: with no room to spare
      frame.reserve(ws_header_bytes(compressed.size()) + compressed.size());
      append_ws_header(frame, encoding == Encoding::json ? WsOpcode::text : WsOpcode::binary,
                       compressed.size(), true);
      message = std::move(frame.append(compressed));
      return;
    }
  }
  carillon::add_frame(message, Framing::websocket, encoding);
}

InflateResult Deflation::inflate(std::string_view compressed, std::string& message) const {
  inflated_.fetch_add(1, std::memory_order_relaxed);
  const auto size = static_cast<std::int64_t>(compressed.size());
  // No overflow: a message on the wire has at most 4 GiB.
  const std::int64_t ratio = std::min<std::int64_t>(limits_.inflate_ratio, 1'000'000);
  const std::int64_t bytes_max = std::min(limits_.message_bytes, std::max(kBytesOfAnyRatio, ratio * size));
  return carillon::inflate(compressed, static_cast<std::size_t>(bytes_max), message);
}

}  // namespace carillon
