#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace carillon {

/// RFC 6455 section 5.2.
enum class WsOpcode : std::uint8_t { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

/// Longest payload of a control frame, in bytes (RFC 6455 section 5.5).
inline constexpr std::size_t kWsControlBytesMax = 125;
/// Longest reason of a close frame, in bytes: what the code leaves of a control frame.
inline constexpr std::size_t kWsCloseReasonBytesMax = kWsControlBytesMax - 2;

/// Code of a close frame that has none (RFC 6455 section 7.1.5).
inline constexpr std::uint16_t kWsNoCloseCode = 1005;
/// Code for a message that is longer than the receiver allows (RFC 6455 section 7.4.1).
inline constexpr std::uint16_t kWsMessageTooBig = 1009;

/// What one step of the parser yields.
enum class WsEventKind : std::uint8_t { need_more, message, ping, pong, close, error };

struct WsEvent {
  WsEventKind kind = WsEventKind::need_more;
  /// message: text or binary; ping, pong, close: that opcode; otherwise without meaning.
  WsOpcode opcode = WsOpcode::continuation;
  /// message, ping, pong: the payload; close: the reason. Points into the input or into the parser: valid
  /// until the next call of the parser or until the input buffer changes, whichever comes first.
  std::string_view payload{};
  /// close: the peer's code, 1005 when it gave none; error: the code to close with (1002, 1007 or 1009).
  std::uint16_t close_code = 0;
  /// error: static text, at most kWsCloseReasonBytesMax bytes, fit to be the close reason; otherwise null.
  const char* error = nullptr;
  /// message: the payload is compressed (RFC 7692), so nothing is known of its content; not even of UTF-8.
  bool is_compressed = false;
};

/// Reads the frames that a client sends (RFC 6455 section 5, and of extensions permessage-deflate): sans-IO,
/// pull style.
///
/// A whole unfragmented message and a whole control frame are handed out as views into the input, without
/// copy or allocation. What is cut or fragmented is kept on the heap, in proportion to what has arrived
/// (never to what a header claims), and freed by the call after the one that hands it out; so a parser that
/// was called until need_more and has nothing partial holds nothing on the heap.
///
/// Errors are events, and each is raised at the first byte that shows it, whatever the pieces in which the
/// input comes: the sequence of events does not depend on them. Not thread-safe; throws only std::bad_alloc.
class WsParser {
 public:
  /// `message_bytes_max`: the longest message, all its fragments together (clamped to 4 GiB - 1).
  /// `allows_compressed`: permessage-deflate was negotiated. The length of a message is that on the wire.
  explicit WsParser(std::size_t message_bytes_max, bool allows_compressed = false);
  WsParser(WsParser&&) noexcept;
  WsParser& operator=(WsParser&&) noexcept;
  ~WsParser();

  /// Advances `input` past what it has read, unmasking payloads in place. Call until need_more, which always
  /// leaves `input` empty. Nothing is read after a close or an error event: each later call swallows its
  /// input and gives need_more.
  WsEvent next(std::span<char>& input);

  /// True once a close or an error event has been given.
  bool is_finished() const { return is_finished_; }
  /// True inside a frame or between the fragments of a message.
  bool has_partial() const;
  /// Bytes that bring a new parser to where this one stands: empty without a partial frame or message.
  std::string unfinished() const;
  /// Bytes on the heap now: at most the longest message and a small constant.
  std::size_t heap_bytes() const;

 private:
  struct Partial;

  WsEvent begin_frame(std::span<char>& input);
  WsEvent continue_frame(std::span<char>& input);
  WsEvent control_event(WsOpcode opcode, std::string_view payload);
  WsEvent fail(std::uint16_t close_code, const char* error);
  WsEvent fail_utf8();

  std::unique_ptr<Partial> partial_;
  std::uint32_t message_bytes_max_;
  bool allows_compressed_;
  bool is_finished_ = false;
};

/// Length of the header of a server's frame, in bytes.
constexpr std::size_t ws_header_bytes(std::size_t payload_bytes) {
  return payload_bytes < 126 ? 2 : payload_bytes <= 0xFFFF ? 4 : 10;
}

/// Appends the header of a server's frame: final, unmasked, length in the shortest form.
/// A control frame must not exceed kWsControlBytesMax, nor be compressed (asserted).
void append_ws_header(std::string& out, WsOpcode opcode, std::size_t payload_bytes,
                      bool is_compressed = false);

/// Appends a server's frame, header and payload. `payload` must not point into `out`.
void append_ws_frame(std::string& out, WsOpcode opcode, std::string_view payload);

/// Appends a server's close frame. `reason` is UTF-8 and is cut to kWsCloseReasonBytesMax bytes between two
/// characters. Codes that must not be sent (1005, 1006, 1015; RFC 6455 section 7.4.1) give an empty payload.
void append_ws_close(std::string& out, std::uint16_t code, std::string_view reason);

/// Appends a client's frame, masked with the four bytes of `mask_key`, highest first: for tests, fuzzing and
/// the load generator. Checks nothing, so that it can write what a server must refuse.
void append_ws_client_frame(std::string& out, WsOpcode opcode, bool is_final, std::uint32_t mask_key,
                            std::string_view payload, bool is_compressed = false);

}  // namespace carillon
