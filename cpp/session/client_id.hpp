#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace carillon {

/// The id of a client, which is the text of a UUID, kept in place: there are many clients. Empty before it
/// has one.
class ClientId {
 public:
  ClientId() = default;
  explicit ClientId(std::string_view uuid)
      : size_(static_cast<std::uint8_t>(uuid.copy(text_.data(), text_.size()))) {}

  [[nodiscard]] std::string_view view() const { return {text_.data(), size_}; }

 private:
  std::array<char, 36> text_{};
  std::uint8_t size_ = 0;
};

}  // namespace carillon
