#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace carillon {

/// Applies a delta in the format of Fossil as its published description says: nothing if it is not valid, or
/// if the size or the checksum is wrong.
inline std::optional<std::string> apply_fossil(std::string_view source, std::string_view delta) {
  constexpr std::string_view kAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";
  const auto take_number = [&]() -> std::optional<std::uint64_t> {
    std::uint64_t number = 0;
    std::size_t digits = 0;
    for (; digits < delta.size() && kAlphabet.find(delta[digits]) != std::string_view::npos; ++digits)
      number = number * 64 + kAlphabet.find(delta[digits]);
    delta.remove_prefix(digits);
    if (digits == 0) return std::nullopt;
    return number;
  };
  const auto take = [&](char expected) {
    if (delta.empty() || delta.front() != expected) return false;
    delta.remove_prefix(1);
    return true;
  };
  const auto size = take_number();
  if (!size || !take('\n')) return std::nullopt;
  std::string target;
  while (true) {
    const auto number = take_number();
    if (!number) return std::nullopt;
    if (take('@')) {
      const auto offset = take_number();
      if (!offset || !take(',') || *offset > source.size() || *number > source.size() - *offset)
        return std::nullopt;
      target.append(source.substr(*offset, *number));
    } else if (take(':')) {
      if (*number > delta.size()) return std::nullopt;
      target.append(delta.substr(0, *number));
      delta.remove_prefix(*number);
    } else if (take(';')) {
      std::uint32_t sum = 0;
      for (std::size_t i = 0; i < target.size(); ++i)
        sum += static_cast<std::uint32_t>(static_cast<unsigned char>(target[i])) << (24 - 8 * (i % 4));
      if (!delta.empty() || target.size() != *size || sum != *number) return std::nullopt;
      return target;
    } else {
      return std::nullopt;
    }
  }
}

}  // namespace carillon
