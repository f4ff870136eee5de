#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "deflate/deflate.hpp"
#include "env/limits.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "session/forms.hpp"

namespace carillon {

struct DeflateOptions {
  bool is_offered = false;      ///< to WebSocket clients
  std::size_t min_bytes = 256;  ///< messages below are not compressed
  int level = 1;                ///< 1 to 9
};

/// permessage-deflate (RFC 7692) of a server. No window outlives a message, on either side: a publication is
/// compressed once for all who have negotiated it, and a connection keeps nothing for it. Thread-safe.
class Deflation {
 public:
  Deflation(const DeflateOptions& options, const Limits& limits) : options_(options), limits_(limits) {}
  Deflation(const Deflation&) = delete;
  Deflation& operator=(const Deflation&) = delete;

  /// The answer to the extensions that a client offers; nothing: none of them is used.
  [[nodiscard]] std::optional<std::string> accept(std::string_view offers) const;
  /// Of who has negotiated it. They live as long as this.
  [[nodiscard]] const ClientLayouts& layouts(Encoding encoding) const {
    return encoding == Encoding::json ? json_ : protobuf_;
  }
  /// Compresses one message if that pays, and frames it, in place.
  void add_frame(std::string& message, Encoding encoding) const;
  /// A message from a client, into `message`, within its limits.
  [[nodiscard]] InflateResult inflate(std::string_view compressed, std::string& message) const;

  /// Messages that were given to the compressor, and to the inflater, since the start.
  [[nodiscard]] std::uint64_t deflated() const { return deflated_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t inflated() const { return inflated_.load(std::memory_order_relaxed); }

 private:
  const DeflateOptions options_;
  const Limits& limits_;
  mutable std::atomic<std::uint64_t> deflated_{0};
  mutable std::atomic<std::uint64_t> inflated_{0};
  const PushForm json_form_{*this, Encoding::json};
  const PushForm json_full_form_{*this, Encoding::json, DataForm::full};
  const DeltaPushForm json_delta_form_{*this, Encoding::json};
  const PushForm protobuf_form_{*this, Encoding::protobuf};
  const DeltaPushForm protobuf_delta_form_{*this, Encoding::protobuf};
  const ClientLayouts json_ =
      client_layouts(Transport::websocket, json_form_, json_full_form_, json_delta_form_);
  const ClientLayouts protobuf_ =
      client_layouts(Transport::websocket, protobuf_form_, protobuf_form_, protobuf_delta_form_);
};

}  // namespace carillon
