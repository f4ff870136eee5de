#include "protocol/protobuf.hpp"

namespace carillon {

std::optional<std::uint64_t> take_varint(std::string_view& in) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(in.front());
    in.remove_prefix(1);
    if (shift == 63 && byte > 1) return std::nullopt;
    value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
    if ((byte & 0x80U) == 0) return value;
  }
  return std::nullopt;
}

std::optional<std::string_view> take_delimited(std::string_view& in) {
  const std::optional<std::uint64_t> size = take_varint(in);
  if (!size || *size > in.size()) return std::nullopt;
  const std::string_view bytes = in.substr(0, *size);
  in.remove_prefix(*size);
  return bytes;
}

namespace {

/// Little-endian.
std::optional<std::uint64_t> take_fixed(std::string_view& in, std::size_t size) {
  if (in.size() < size) return std::nullopt;
  std::uint64_t value = 0;
  for (std::size_t i = size; i > 0; --i) value = value << 8U | static_cast<std::uint8_t>(in[i - 1]);
  in.remove_prefix(size);
  return value;
}

}  // namespace

bool ProtobufReader::next(ProtobufField& field) {
  if (rest_.empty()) return false;
  const std::optional<std::uint64_t> tag = take_varint(rest_);
  if (!tag || *tag >> 3U == 0 || *tag > 0xFFFFFFFFU) return fail();
  field = {};
  field.number = static_cast<std::uint32_t>(*tag >> 3U);
  std::optional<std::uint64_t> value;
  switch (*tag & 7U) {
    case 0:
      value = take_varint(rest_);
      break;
    case 1:
      value = take_fixed(rest_, 8);
      break;
    case 5:
      value = take_fixed(rest_, 4);
      break;
    case 2: {
      const std::optional<std::string_view> bytes = take_delimited(rest_);
      if (!bytes) return fail();
      field.is_bytes = true;
      field.bytes = *bytes;
      return true;
    }
    default:  // groups are not part of proto3
      return fail();
  }
  if (!value) return fail();
  field.value = *value;
  return true;
}

void append_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80U) {
    out.push_back(static_cast<char>(value | 0x80U));
    value >>= 7U;
  }
  out.push_back(static_cast<char>(value));
}

void ProtobufWriter::close_delimited(std::string& out, std::size_t begin) {
  const std::size_t size = out.size() - begin;
  if (size < 0x80U) {
    out[begin - 1] = static_cast<char>(size);
    return;
  }
  std::string length;
  append_varint(length, size);
  out[begin - 1] = length.front();
  out.insert(begin, length, 1);
}

}  // namespace carillon
