#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace carillon {

// The Protobuf wire format (protobuf.dev/programming-guides/encoding) without schemas, for the codecs of this
// folder.

/// One field of a message. `number` is the field's; the value is where its type says.
struct ProtobufField {
  std::uint32_t number = 0;
  bool is_bytes = false;    ///< length-delimited: text, bytes, messages; else a number
  std::uint64_t value = 0;  ///< varint, fixed64 or fixed32
  std::string_view bytes = {};

  [[nodiscard]] bool boolean() const { return value != 0; }
  [[nodiscard]] std::int64_t int64() const { return static_cast<std::int64_t>(value); }
};

/// Takes a varint off the front. Nothing: it is cut, or longer than 64 bits; `in` is then undefined.
[[nodiscard]] std::optional<std::uint64_t> take_varint(std::string_view& in);
/// Takes a varint and as many bytes as it says off the front.
[[nodiscard]] std::optional<std::string_view> take_delimited(std::string_view& in);

/// Reads a message field by field.
class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view message) : rest_(message) {}
  /// False: at the end, or malformed, which is_malformed() tells.
  bool next(ProtobufField& field);
  [[nodiscard]] bool is_malformed() const { return is_malformed_; }

 private:
  bool fail() {
    is_malformed_ = true;
    return false;
  }
  std::string_view rest_;
  bool is_malformed_ = false;
};

void append_varint(std::string& out, std::uint64_t value);

/// Appends fields to a message. Zero values are left out, as proto3 does.
class ProtobufWriter {
 public:
  explicit ProtobufWriter(std::string& out) : out_(out) {}

  void number(std::uint32_t field, std::uint64_t value) {
    if (value == 0) return;
    tag(field, kVarint);
    append_varint(out_, value);
  }
  void bytes(std::uint32_t field, std::string_view value) {
    if (!value.empty()) present_bytes(field, value);
  }
  /// Also if it is empty.
  void present_bytes(std::uint32_t field, std::string_view value) {
    tag(field, kDelimited);
    append_varint(out_, value.size());
    out_.append(value);
  }
  /// Begins a nested message; what is appended until close() with the result is in it.
  [[nodiscard]] std::size_t open(std::uint32_t field) {
    tag(field, kDelimited);
    return open_delimited(out_);
  }
  void close(std::size_t begin) { close_delimited(out_, begin); }

  /// The same for a message without a field, behind its length.
  [[nodiscard]] static std::size_t open_delimited(std::string& out) {
    out.push_back('\0');  // enough for a length below 128
    return out.size();
  }
  static void close_delimited(std::string& out, std::size_t begin);

 private:
  static constexpr std::uint32_t kVarint = 0;
  static constexpr std::uint32_t kDelimited = 2;
  void tag(std::uint32_t field, std::uint32_t type) { append_varint(out_, field << 3U | type); }
  std::string& out_;
};

}  // namespace carillon
