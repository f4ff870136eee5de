#include "store/entry_codec.hpp"

#include <cstdint>
#include <utility>

namespace carillon {

namespace {

// version, flags, wall_ms (8 bytes, little-endian), then texts: length (varint) and bytes. A later version
// adds behind them, and has another number if an earlier one cannot read the entry without that.
constexpr unsigned char kCodecVersion = 1;
constexpr std::size_t kHeadBytes = 10;
constexpr unsigned kKindMask = 3;
constexpr unsigned kBinary = 4;
constexpr unsigned kDelta = 8;
constexpr unsigned kKnownFlags = kKindMask | kBinary | kDelta;

void put_number(std::uint64_t number, std::string& bytes) {
  for (; number >= 0x80; number >>= 7U) bytes.push_back(static_cast<char>(0x80U | (number & 0x7fU)));
  bytes.push_back(static_cast<char>(number));
}
void put_text(std::string_view text, std::string& bytes) {
  put_number(text.size(), bytes);
  bytes.append(text);
}

class EntryBytes {
 public:
  explicit EntryBytes(std::string_view bytes) : left_(bytes) {}
  [[nodiscard]] std::uint64_t number() {
    std::uint64_t number = 0;
    for (unsigned shift = 0; shift < 64 && !left_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(left_.front());
      left_.remove_prefix(1);
      number |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return number;
    }
    is_damaged_ = true;
    return 0;
  }
  [[nodiscard]] std::string text() {
    const std::uint64_t size = number();
    if (is_damaged_ || size > left_.size()) {
      is_damaged_ = true;
      return {};
    }
    std::string text(left_.substr(0, size));
    left_.remove_prefix(size);
    return text;
  }
  [[nodiscard]] std::size_t left() const { return left_.size(); }
  [[nodiscard]] bool is_damaged() const { return is_damaged_; }

 private:
  std::string_view left_;
  bool is_damaged_ = false;
};

}  // namespace

void encode_entry(const Entry& entry, std::string& bytes) {
  const Publication& publication = entry.publication;
  bytes.push_back(static_cast<char>(kCodecVersion));
  bytes.push_back(static_cast<char>(static_cast<unsigned>(entry.kind) |
                                    (publication.content == ContentType::binary ? kBinary : 0) |
                                    (publication.has_delta ? kDelta : 0)));
  const auto wall = static_cast<std::uint64_t>(entry.wall_ms);
  for (unsigned shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(wall >> shift));
  put_text(publication.data, bytes);
  put_text(publication.info_json, bytes);
  put_text(publication.key, bytes);
  put_number(publication.tags.size(), bytes);
  for (const Tag& tag : publication.tags) {
    put_text(tag.first, bytes);
    put_text(tag.second, bytes);
  }
}

std::optional<Millis> wall_ms_of_entry(std::string_view bytes) {
  if (bytes.size() < kHeadBytes || static_cast<unsigned char>(bytes[0]) != kCodecVersion) return std::nullopt;
  std::uint64_t wall = 0;
  for (unsigned i = 0; i < 8; ++i)
    wall |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[2 + i])) << (8 * i);
  return static_cast<Millis>(wall);
}

std::shared_ptr<Entry> decode_entry(std::string_view bytes, Offset offset) {
  const std::optional<Millis> wall_ms = wall_ms_of_entry(bytes);
  if (!wall_ms) return nullptr;
  const auto flags = static_cast<unsigned char>(bytes[1]);
  const unsigned kind = flags & kKindMask;
  if ((flags & ~kKnownFlags) != 0 || kind > static_cast<unsigned>(EntryKind::leave)) return nullptr;
  EntryBytes left(bytes.substr(kHeadBytes));
  Publication publication;
  publication.content = (flags & kBinary) != 0 ? ContentType::binary : ContentType::json;
  publication.has_delta = (flags & kDelta) != 0;
  publication.data = left.text();
  publication.info_json = left.text();
  publication.key = left.text();
  const std::uint64_t tags = left.number();
  if (left.is_damaged() || tags > left.left()) return nullptr;
  publication.tags.reserve(tags);
  for (std::uint64_t i = 0; i < tags && !left.is_damaged(); ++i) {
    std::string name = left.text();
    publication.tags.emplace_back(std::move(name), left.text());
  }
  if (left.is_damaged()) return nullptr;  // what is left was added by a later version
  auto entry = std::make_shared<Entry>(static_cast<EntryKind>(kind), std::move(publication), *wall_ms);
  entry->offset = offset;
  return entry;
}

}  // namespace carillon
