#pragma once

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

// What the bare loop reads, found by string search: no parser, no checks. A real server must not do that.
namespace carillon::bench {

/// RFC 6455 section 4.2.2: base64 of the SHA-1 of key and GUID.
inline std::string accept_value(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  unsigned char encoded[4 * ((SHA_DIGEST_LENGTH + 2) / 3) + 1];
  const int size = EVP_EncodeBlock(encoded, digest, SHA_DIGEST_LENGTH);
  return {reinterpret_cast<char*>(encoded), static_cast<std::size_t>(size)};
}

/// What stands between `mark` and `end`; empty if the mark is not there.
inline std::string_view between(std::string_view text, std::string_view mark, std::string_view end) {
  const std::size_t at = text.find(mark);
  if (at == std::string_view::npos) return {};
  const std::size_t from = at + mark.size();
  return text.substr(from, text.find_first_of(end, from) - from);
}

/// The value of a header, by its name in the two spellings in use.
inline std::string_view header_value(std::string_view head, std::string_view name,
                                     std::string_view lower_name) {
  const std::string_view value = between(head, name, "\r");
  return value.empty() ? between(head, lower_name, "\r") : value;
}

/// What stands after `"data":`, less the `closing_bytes` braces that end the command.
inline std::string_view data_of(std::string_view command, std::size_t closing_bytes) {
  constexpr std::string_view kMark = "\"data\":";
  const std::size_t at = command.find(kMark);
  if (at == std::string_view::npos || command.size() < at + kMark.size() + closing_bytes) return {};
  return command.substr(at + kMark.size(), command.size() - at - kMark.size() - closing_bytes);
}

inline std::uint64_t to_number(std::string_view digits) {
  std::uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

}  // namespace carillon::bench
