#include "protocol/ws_frame.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <limits>
#include <vector>

#include "protocol/utf8.hpp"

namespace carillon {
namespace {

constexpr std::uint16_t kProtocolError = 1002;
constexpr std::uint16_t kNoCode = 1005;
constexpr std::uint16_t kAbnormalClosure = 1006;
constexpr std::uint16_t kInvalidPayload = 1007;
constexpr std::uint16_t kTlsFailure = 1015;

constexpr std::uint8_t kFinalBit = 0x80;
constexpr std::uint8_t kReservedBits = 0x70;
constexpr std::uint8_t kCompressedBit = 0x40;  // RFC 7692 section 6
constexpr std::uint8_t kOpcodeBits = 0x0F;
constexpr std::uint8_t kMaskBit = 0x80;
constexpr std::uint8_t kLength16 = 126;
constexpr std::uint8_t kLength64 = 127;
constexpr std::size_t kHeaderBytesMax = 14;

// Of each byte of a word: set in none of them if the text is ASCII.
constexpr std::uint64_t kNotAscii = 0x8080808080808080;

using MaskKey = std::array<char, 4>;

constexpr bool is_control(WsOpcode opcode) { return static_cast<std::uint8_t>(opcode) >= 8; }

constexpr bool is_known(std::uint8_t opcode) { return opcode <= 2 || (opcode >= 8 && opcode <= 10); }

// Codes that a peer may put on the wire: RFC 6455 section 7.4 and the IANA registry (1012 to 1014).
constexpr bool is_valid_close_code(std::uint16_t code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

std::uint64_t read_big_endian(const char* from, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<std::uint8_t>(from[i]);
  return value;
}

char* put_big_endian(char* at, std::uint64_t value, std::size_t bytes) {
  while (bytes-- > 0) *at++ = static_cast<char>(value >> (8 * bytes) & 0xFF);
  return at;
}

void append_big_endian(std::string& out, std::uint64_t value, std::size_t bytes) {
  std::array<char, sizeof value> text;
  put_big_endian(text.data(), value, bytes);
  out.append(text.data(), bytes);
}

// Masks or unmasks in place, the first byte with key[0]. True if the result is ASCII only: the answer costs
// one instruction a word here and saves the common message a second pass.
bool apply_mask(std::span<char> bytes, const MaskKey& key) {
  std::uint32_t narrow_key;
  std::memcpy(&narrow_key, key.data(), sizeof narrow_key);
  const std::uint64_t wide_key = std::uint64_t{narrow_key} << 32 | narrow_key;
  std::uint64_t seen = 0;
  char* at = bytes.data();
  const auto apply_next = [&at, &seen](auto key_part) {
    auto part = key_part;
    std::memcpy(&part, at, sizeof part);
    part = static_cast<decltype(part)>(part ^ key_part);
    seen |= part;
    std::memcpy(at, &part, sizeof part);
    at += sizeof part;
  };
  std::size_t left = bytes.size();
  for (; left >= sizeof wide_key; left -= sizeof wide_key) apply_next(wide_key);
  if (left >= sizeof narrow_key) {
    apply_next(narrow_key);
    left -= sizeof narrow_key;
  }
  for (std::size_t i = 0; i < left; ++i) apply_next(static_cast<std::uint8_t>(key[i]));
  return (seen & kNotAscii) == 0;
}

// The key for the bytes behind the first `bytes` of a payload.
MaskKey rotated(const MaskKey& key, std::size_t bytes) {
  MaskKey result;
  for (std::size_t i = 0; i < key.size(); ++i) result[i] = key[(i + bytes) % key.size()];
  return result;
}

struct Header {
  std::uint64_t payload_bytes;
  MaskKey mask_key;
  WsOpcode opcode;
  bool is_final;
  bool is_compressed;
  std::uint8_t header_bytes;
};

enum class HeaderStatus : std::uint8_t { incomplete, complete, refused };

/// What the message that a frame belongs to permits.
struct Permitted {
  bool is_fragmented;
  bool allows_compressed;
  std::uint64_t room_bytes;  // what the message may still grow by
};

struct Violation {
  std::uint16_t close_code;
  const char* error;
};

// Reads the header at the front of `bytes`, which may be cut. Checks in the order of the bytes, so that a cut
// header is refused for the same reason as a whole one.
HeaderStatus read_header(std::span<const char> bytes, const Permitted& permitted, Header& header,
                         Violation& violation) {
  const auto refuse = [&violation](std::uint16_t close_code, const char* error) {
    violation = {close_code, error};
    return HeaderStatus::refused;
  };

  if (bytes.empty()) return HeaderStatus::incomplete;
  const auto first = static_cast<std::uint8_t>(bytes[0]);
  const auto opcode = static_cast<std::uint8_t>(first & kOpcodeBits);
  header.is_compressed = permitted.allows_compressed && (first & kReservedBits) == kCompressedBit &&
                         (opcode == 1 || opcode == 2);  // of a message, only the first frame says so
  if ((first & kReservedBits) != 0 && !header.is_compressed)
    return refuse(kProtocolError, "reserved bit set");
  if (!is_known(opcode)) return refuse(kProtocolError, "reserved opcode");
  header.opcode = WsOpcode{opcode};
  header.is_final = (first & kFinalBit) != 0;
  if (is_control(header.opcode)) {
    if (!header.is_final) return refuse(kProtocolError, "fragmented control frame");
  } else if ((header.opcode == WsOpcode::continuation) != permitted.is_fragmented) {
    return refuse(kProtocolError, permitted.is_fragmented ? "new message inside a fragmented one"
                                                          : "continuation without a message");
  }

  if (bytes.size() < 2) return HeaderStatus::incomplete;
  const auto second = static_cast<std::uint8_t>(bytes[1]);
  const auto length = static_cast<std::uint8_t>(second & ~kMaskBit);
  if ((second & kMaskBit) == 0) return refuse(kProtocolError, "frame without mask");
  header.payload_bytes = length;
  std::size_t mask_at = 2;
  if (is_control(header.opcode)) {
    if (length > kWsControlBytesMax) return refuse(kProtocolError, "control frame too long");
  } else {
    if (length >= kLength16) {
      mask_at = length == kLength16 ? 4 : 10;
      if (bytes.size() < mask_at) return HeaderStatus::incomplete;
      header.payload_bytes = read_big_endian(bytes.data() + 2, mask_at - 2);
      if (header.payload_bytes >> 63 != 0) return refuse(kProtocolError, "frame length out of range");
      if (header.payload_bytes <= (length == kLength64 ? 0xFFFF : kWsControlBytesMax))
        return refuse(kProtocolError, "frame length not in the shortest form");
    }
    if (header.payload_bytes > permitted.room_bytes) return refuse(kWsMessageTooBig, "message too big");
  }

  header.header_bytes = static_cast<std::uint8_t>(mask_at + header.mask_key.size());
  if (bytes.size() < header.header_bytes) return HeaderStatus::incomplete;
  std::memcpy(header.mask_key.data(), bytes.data() + mask_at, header.mask_key.size());
  return HeaderStatus::complete;
}

void append_header(std::string& out, WsOpcode opcode, bool is_final, bool is_compressed,
                   std::uint8_t mask_bit, std::size_t payload_bytes) {
  const std::size_t length_bytes = ws_header_bytes(payload_bytes) - 2;
  const std::size_t length = length_bytes == 0 ? payload_bytes : length_bytes == 2 ? kLength16 : kLength64;
  const unsigned bits = (is_final ? kFinalBit : 0U) | (is_compressed ? kCompressedBit : 0U);
  std::array<char, kHeaderBytesMax> header;
  header[0] = static_cast<char>(bits | static_cast<std::uint8_t>(opcode));
  header[1] = static_cast<char>(mask_bit | length);
  put_big_endian(&header[2], payload_bytes, length_bytes);
  out.append(header.data(), 2 + length_bytes);
}

std::span<char> take_front(std::span<char>& input, std::size_t bytes) {
  const std::span<char> front = input.first(bytes);
  input = input.subspan(bytes);
  return front;
}

std::string_view as_view(std::span<const char> bytes) { return {bytes.data(), bytes.size()}; }

}  // namespace

// Everything that must outlive an input buffer. A control frame may come between two fragments, and be cut
// itself, so it has a place of its own.
struct WsParser::Partial {
  bool is_spent() const { return cut_header_bytes == 0 && !is_in_payload && !is_fragmented; }

  void begin_payload(const Header& header) {
    frame = header;
    left_bytes = static_cast<std::size_t>(header.payload_bytes);
    is_in_payload = true;
    if (is_control(header.opcode)) {
      control_bytes = 0;
    } else if (header.opcode != WsOpcode::continuation) {
      message_opcode = header.opcode;
      is_compressed = header.is_compressed;
    }
  }

  // Grows by doubling, but past neither the limit nor the known end: memory follows what has arrived.
  void append(std::span<const char> piece, std::size_t message_bytes_max) {
    const std::size_t needed = message.size() + piece.size();
    if (needed > message.capacity()) {
      const std::size_t end = frame.is_final ? needed + left_bytes : message_bytes_max;
      message.reserve(std::min(std::max(needed, 2 * message.capacity()), end));
    }
    message.insert(message.end(), piece.begin(), piece.end());
  }

  // The frame being read: first its header, if that was cut, then its payload.
  std::array<char, kHeaderBytesMax> cut_header;
  std::uint8_t cut_header_bytes = 0;
  bool is_in_payload = false;
  Header frame{};
  std::size_t left_bytes = 0;  // of the payload

  // The message: from its first byte that could not be handed out at once to its last.
  bool is_fragmented = false;  // a frame of it has been read whole, and it was not the final one
  WsOpcode message_opcode = WsOpcode::continuation;
  bool is_compressed = false;
  Utf8Validator utf8;
  std::vector<char> message;

  std::uint8_t control_bytes = 0;
  std::array<char, kWsControlBytesMax> control;
};

WsParser::WsParser(std::size_t message_bytes_max, bool allows_compressed)
    : message_bytes_max_(static_cast<std::uint32_t>(
          std::min<std::size_t>(message_bytes_max, std::numeric_limits<std::uint32_t>::max()))),
      allows_compressed_(allows_compressed) {}
WsParser::WsParser(WsParser&&) noexcept = default;
WsParser& WsParser::operator=(WsParser&&) noexcept = default;
WsParser::~WsParser() = default;

bool WsParser::has_partial() const { return partial_ && !partial_->is_spent(); }

std::string WsParser::unfinished() const {
  std::string bytes;
  if (is_finished_ || !has_partial()) return bytes;
  const Partial& partial = *partial_;
  const Header& frame = partial.frame;
  const bool is_in_control = partial.is_in_payload && is_control(frame.opcode);
  const std::size_t read =
      partial.is_in_payload ? static_cast<std::size_t>(frame.payload_bytes) - partial.left_bytes : 0;
  const std::string_view message = as_view(partial.message);
  const std::size_t earlier = message.size() - (is_in_control ? 0 : read);
  // The fragments that are whole may as well have come as one.
  if (partial.is_fragmented)
    append_ws_client_frame(bytes, partial.message_opcode, false, 0, message.substr(0, earlier),
                           partial.is_compressed);
  if (partial.is_in_payload) {
    append_header(bytes, frame.opcode, frame.is_final, frame.is_compressed, kMaskBit,
                  static_cast<std::size_t>(frame.payload_bytes));
    const MaskKey key = rotated(frame.mask_key, (frame.mask_key.size() - read % frame.mask_key.size()));
    bytes.append(key.data(), key.size());
    const std::size_t begin = bytes.size();
    bytes.append(is_in_control ? std::string_view(partial.control.data(), read) : message.substr(earlier));
    apply_mask({bytes.data() + begin, read}, key);
  }
  bytes.append(partial.cut_header.data(), partial.cut_header_bytes);
  return bytes;
}

std::size_t WsParser::heap_bytes() const {
  return partial_ ? sizeof(Partial) + partial_->message.capacity() : 0;
}

WsEvent WsParser::next(std::span<char>& input) {
  if (partial_ && (is_finished_ || partial_->is_spent())) partial_.reset();
  if (is_finished_) {
    take_front(input, input.size());
    return {};
  }
  // Each turn takes a byte at least: it ends a frame, and mostly a message, or it takes all there is.
  for (;;) {
    const bool is_in_payload = partial_ && partial_->is_in_payload;
    WsEvent event = is_in_payload ? continue_frame(input) : begin_frame(input);
    if (event.kind != WsEventKind::need_more || input.empty()) return event;
  }
}

// Reads a header, and hands the frame out at once if it is whole and stands for itself.
WsEvent WsParser::begin_frame(std::span<char>& input) {
  const bool is_fragmented = partial_ && partial_->is_fragmented;
  const Permitted permitted{
      .is_fragmented = is_fragmented,
      .allows_compressed = allows_compressed_,
      .room_bytes = message_bytes_max_ - (is_fragmented ? partial_->message.size() : 0)};
  Header header;
  Violation violation;
  auto status = HeaderStatus::incomplete;
  if (partial_ && partial_->cut_header_bytes > 0) {
    auto& cut = partial_->cut_header;
    auto& cut_bytes = partial_->cut_header_bytes;
    while (status == HeaderStatus::incomplete && !input.empty()) {
      cut[cut_bytes++] = take_front(input, 1).front();
      status = read_header({cut.data(), cut_bytes}, permitted, header, violation);
    }
    if (status == HeaderStatus::complete) cut_bytes = 0;
  } else {
    status = read_header(input, permitted, header, violation);
    if (status == HeaderStatus::complete) {
      take_front(input, header.header_bytes);
    } else if (status == HeaderStatus::incomplete && !input.empty()) {
      if (!partial_) partial_ = std::make_unique<Partial>();
      partial_->cut_header_bytes = static_cast<std::uint8_t>(input.size());
      std::ranges::copy(take_front(input, input.size()), partial_->cut_header.begin());
    }
  }
  if (status == HeaderStatus::incomplete) return {};
  if (status == HeaderStatus::refused) return fail(violation.close_code, violation.error);

  const bool stands_alone = header.is_final && header.opcode != WsOpcode::continuation;
  if (stands_alone && header.payload_bytes <= input.size()) {
    const auto payload = take_front(input, static_cast<std::size_t>(header.payload_bytes));
    const bool is_ascii = apply_mask(payload, header.mask_key);
    if (is_control(header.opcode)) return control_event(header.opcode, as_view(payload));
    if (header.opcode == WsOpcode::text && !is_ascii && !header.is_compressed && !is_utf8(as_view(payload)))
      return fail_utf8();
    return {.kind = WsEventKind::message,
            .opcode = header.opcode,
            .payload = as_view(payload),
            .is_compressed = header.is_compressed};
  }

  if (!partial_) partial_ = std::make_unique<Partial>();
  partial_->begin_payload(header);
  return continue_frame(input);
}

// Reads what there is of the payload of a cut or fragmented frame.
WsEvent WsParser::continue_frame(std::span<char>& input) {
  Partial& partial = *partial_;
  const auto piece = take_front(input, std::min(partial.left_bytes, input.size()));
  partial.left_bytes -= piece.size();
  auto& mask_key = partial.frame.mask_key;
  apply_mask(piece, mask_key);
  mask_key = rotated(mask_key, piece.size());

  if (is_control(partial.frame.opcode)) {
    std::ranges::copy(piece, partial.control.begin() + partial.control_bytes);
    partial.control_bytes = static_cast<std::uint8_t>(partial.control_bytes + piece.size());
    if (partial.left_bytes > 0) return {};
    partial.is_in_payload = false;
    return control_event(partial.frame.opcode, {partial.control.data(), partial.control_bytes});
  }

  const bool is_text = partial.message_opcode == WsOpcode::text && !partial.is_compressed;
  if (is_text && !partial.utf8.consume(as_view(piece))) return fail_utf8();
  partial.append(piece, message_bytes_max_);
  if (partial.left_bytes > 0) return {};
  partial.is_in_payload = false;
  partial.is_fragmented = !partial.frame.is_final;
  if (partial.is_fragmented) return {};
  if (is_text && !partial.utf8.is_complete()) return fail_utf8();
  return {.kind = WsEventKind::message,
          .opcode = partial.message_opcode,
          .payload = as_view(partial.message),
          .is_compressed = partial.is_compressed};
}

WsEvent WsParser::control_event(WsOpcode opcode, std::string_view payload) {
  if (opcode != WsOpcode::close) {
    const auto kind = opcode == WsOpcode::ping ? WsEventKind::ping : WsEventKind::pong;
    return {.kind = kind, .opcode = opcode, .payload = payload};
  }
  std::uint16_t code = kNoCode;
  if (!payload.empty()) {
    if (payload.size() < 2) return fail(kProtocolError, "close frame with half a code");
    code = static_cast<std::uint16_t>(read_big_endian(payload.data(), 2));
    if (!is_valid_close_code(code)) return fail(kProtocolError, "close code out of range");
    payload.remove_prefix(2);
    if (!is_utf8(payload)) return fail(kInvalidPayload, "close reason is not UTF-8");
  }
  is_finished_ = true;
  return {.kind = WsEventKind::close, .opcode = opcode, .payload = payload, .close_code = code};
}

WsEvent WsParser::fail_utf8() { return fail(kInvalidPayload, "text is not UTF-8"); }

WsEvent WsParser::fail(std::uint16_t close_code, const char* error) {
  is_finished_ = true;
  partial_.reset();
  return {.kind = WsEventKind::error, .close_code = close_code, .error = error};
}

void append_ws_header(std::string& out, WsOpcode opcode, std::size_t payload_bytes, bool is_compressed) {
  assert(!is_control(opcode) || (payload_bytes <= kWsControlBytesMax && !is_compressed));
  append_header(out, opcode, true, is_compressed, 0, payload_bytes);
}

void append_ws_frame(std::string& out, WsOpcode opcode, std::string_view payload) {
  append_ws_header(out, opcode, payload.size());
  out.append(payload);
}

void append_ws_close(std::string& out, std::uint16_t code, std::string_view reason) {
  if (code == kNoCode || code == kAbnormalClosure || code == kTlsFailure) {
    append_ws_header(out, WsOpcode::close, 0);
    return;
  }
  if (reason.size() > kWsCloseReasonBytesMax) {
    std::size_t end = kWsCloseReasonBytesMax;
    while (end > 0 && (static_cast<std::uint8_t>(reason[end]) & 0xC0) == 0x80) --end;
    reason = reason.substr(0, end);
  }
  append_ws_header(out, WsOpcode::close, 2 + reason.size());
  append_big_endian(out, code, 2);
  out.append(reason);
}

void append_ws_client_frame(std::string& out, WsOpcode opcode, bool is_final, std::uint32_t mask_key,
                            std::string_view payload, bool is_compressed) {
  append_header(out, opcode, is_final, is_compressed, kMaskBit, payload.size());
  append_big_endian(out, mask_key, 4);
  MaskKey key;
  std::copy_n(out.end() - 4, key.size(), key.begin());
  const std::size_t payload_at = out.size();
  out.append(payload);
  apply_mask(std::span(out).subspan(payload_at), key);
}

}  // namespace carillon
