#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

// What the load generator and the bare loop of bench/ need of RFC 6455: data frames, one per message. Nothing
// of the product's own codec is used, so that a mistake in it cannot hide itself here.
namespace carillon::load {

constexpr std::uint8_t kTextFrame = 0x81;  // FIN and opcode in one byte: nobody here sends fragments
constexpr std::uint8_t kDeflatedTextFrame = 0xC1;
constexpr std::uint8_t kCloseFrame = 0x88;
constexpr std::uint8_t kPingFrame = 0x89;
constexpr std::uint8_t kPongFrame = 0x8A;

struct WebFrame {
  std::uint8_t head = 0;  // first byte as it stands on the wire: FIN, reserved bits, opcode
  std::string_view payload;
  std::size_t wire_bytes = 0;
};

inline void apply_mask(char* data, std::size_t size, const char key[4]) {
  std::uint64_t key_twice = 0;
  std::memcpy(&key_twice, key, 4);
  key_twice |= key_twice << 32;
  std::size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + at, 8);
    word ^= key_twice;
    std::memcpy(data + at, &word, 8);
  }
  for (; at < size; ++at) data[at] = static_cast<char>(data[at] ^ key[at % 4]);
}

/// The frame at the start of `data`, unmasked in place, or nothing while it is incomplete.
inline std::optional<WebFrame> read_frame(char* data, std::size_t size) {
  if (size < 2) return std::nullopt;
  const auto byte = [data](std::size_t at) { return static_cast<std::uint8_t>(data[at]); };
  const bool is_masked = (byte(1) & 0x80) != 0;
  std::size_t header_bytes = 2;
  std::size_t payload_bytes = byte(1) & 0x7F;
  if (payload_bytes >= 126) {
    const std::size_t length_bytes = payload_bytes == 126 ? 2 : 8;
    header_bytes += length_bytes;
    if (size < header_bytes) return std::nullopt;
    payload_bytes = 0;
    for (std::size_t i = 0; i < length_bytes; ++i) payload_bytes = payload_bytes << 8 | byte(2 + i);
  }
  const std::size_t mask_bytes = is_masked ? 4 : 0;
  header_bytes += mask_bytes;
  if (size < header_bytes || size - header_bytes < payload_bytes) return std::nullopt;
  char* payload = data + header_bytes;
  if (is_masked) apply_mask(payload, payload_bytes, payload - mask_bytes);
  return WebFrame{byte(0), {payload, payload_bytes}, header_bytes + payload_bytes};
}

/// Appends one frame; with a `mask_key` as a client sends it, without as a server does.
inline void append_frame(std::string& out, std::uint8_t head, std::string_view payload,
                         std::optional<std::uint32_t> mask_key = std::nullopt) {
  const std::uint8_t mask_bit = mask_key ? 0x80 : 0;
  out.push_back(static_cast<char>(head));
  if (payload.size() < 126) {
    out.push_back(static_cast<char>(payload.size() | mask_bit));
  } else {
    const int length_bytes = payload.size() <= 0xFFFF ? 2 : 8;
    out.push_back(static_cast<char>((length_bytes == 2 ? 126 : 127) | mask_bit));
    for (int i = length_bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(payload.size() >> (8 * i)));
  }
  if (!mask_key) {
    out.append(payload);
    return;
  }
  char key[4];
  std::memcpy(key, &*mask_key, 4);
  out.append(key, 4);
  out.append(payload);
  apply_mask(out.data() + out.size() - payload.size(), payload.size(), key);
}

}  // namespace carillon::load
